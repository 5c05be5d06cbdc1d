"""Rows of an evaluation, by way of a journal where there is one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.datasets.names import sample_id
from ferkit.errors import FerkitError
from ferkit.evaluation.data import Judged
from ferkit.evaluation.pose import DATA, NONE
from ferkit.evaluation.rows import NO_FACE, SCORED, UNREADABLE
from ferkit.interfaces import Sample
from ferkit.journal import NO_FACE as EMPTY
from ferkit.journal import Journal, Record
from ferkit.progress import progress
from ferkit.text import shown

if TYPE_CHECKING:
    from pandas import DataFrame

Found = tuple["DataFrame", dict[str, Any]]
SYNC = 256  # records after which the disk is told to write


@dataclass(frozen=True)
class Job:
    """Samples to be worked on.

    Attributes:
        work: Gives one record a sample, called by its id, in order, lazily.
        data: The samples with their truth.
        shows: Whether a bar is drawn on stderr; None: if that is a terminal.
    """

    work: Callable[[Iterator[Sample]], Iterator[Record]]
    data: Judged
    shows: bool | None = None

    def rows(self, journal: Journal | None = None) -> list[dict[str, Any]]:
        """One row a sample; with ``journal`` those that are in it are not worked on again."""
        samples = self.data.samples
        if journal is None:
            each = progress(self.work(iter(samples)), len(samples), self.shows)
            return self._rows({record.source: record for record in each}.__getitem__)
        rest = [sample for sample in samples if not journal.done(sample.id, sample.source)]
        for index, record in enumerate(progress(self.work(iter(rest)), len(rest), self.shows), 1):
            journal.append(record)
            if index % SYNC == 0:
                journal.sync()
        return self._rows(journal.record)

    def _rows(self, record: Callable[[str], Record]) -> list[dict[str, Any]]:
        pairs = zip(self.data.samples, self.data.truth, strict=True)
        return [_row(sample, label, self.data.split, record(sample.id)) for sample, label in pairs]


def finished(
    folder: Path, name: str, read: Callable[[Path], Found], provenance: Mapping[str, Any], same: Sequence[str]
) -> "DataFrame | None":
    """The rows of a finished report of the same, None where there is no report.

    Args:
        folder: The report's.
        name: The file that is written last.
        read: Reads its rows and where they come from.
        provenance: Where these come from.
        same: What of it must be the same.

    Raises:
        FerkitError: If it is of something else.
    """
    if not (folder / name).exists():
        return None
    rows, before = read(folder)
    if other := [key for key in same if before.get(key) != provenance[key]]:
        changed = " and ".join(name.removesuffix("_digest") for name in other)
        raise FerkitError(
            f"{shown(folder)} holds a report that differs in {changed} (`ferkit recipe show` and "
            "the report's provenance tell them apart): add --overwrite (overwrite=True) to replace it, "
            "or choose another folder"
        )
    return rows


def _row(sample: Sample, label: str, split: str, record: Record) -> dict[str, Any]:
    """A sample's truth beside what became of it."""
    known = {
        "id": sample.id,
        "source": sample_id(sample.source),
        "true_label": label,
        "subject": sample.subject,
        "group": sample.group,
        "split": split,
    }
    if record.rows:
        return {**record.rows[0], **known, "status": SCORED}
    kind, message = record.error or ("", "")
    status, error = (NO_FACE, None) if kind == EMPTY else (UNREADABLE, sample_id(f"{kind}: {message}"))
    pose = dict(zip(("yaw", "pitch", "roll"), sample.pose or (), strict=False))
    origin = DATA if isfinite(pose.get("yaw", nan)) else NONE
    return {**known, **pose, "label": "", "flags": "", "pose_from": origin, "status": status, "error": error}
