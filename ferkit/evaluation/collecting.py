"""Rows of an evaluation, by way of a journal where there is one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferkit.datasets.names import sample_id
from ferkit.evaluation.data import Judged
from ferkit.evaluation.pose import DATA, NONE
from ferkit.evaluation.predicting import Predictor
from ferkit.evaluation.rows import NO_FACE, SCORED, UNREADABLE, table
from ferkit.interfaces import Sample
from ferkit.journal import NO_FACE as EMPTY
from ferkit.journal import Journal, Record
from ferkit.progress import progress

if TYPE_CHECKING:
    from pandas import DataFrame

SYNC = 256  # records after which the disk is told to write


@dataclass(frozen=True)
class Job:
    """Samples to be predicted.

    Attributes:
        work: Predicts.
        data: The samples with their truth.
        shows: Whether a bar is drawn on stderr; None: if that is a terminal.
    """

    work: Predictor
    data: Judged
    shows: bool | None = None

    def rows(self, journal: Journal | None = None) -> "DataFrame":
        """One row a sample; with ``journal`` those that are in it are not predicted again."""
        samples = self.data.samples
        if journal is None:
            each = progress(self.work(iter(samples)), len(samples), self.shows)
            return self._table({record.source: record for record in each}.__getitem__)
        rest = [sample for sample in samples if not journal.done(sample.id, sample.source)]
        for index, record in enumerate(progress(self.work(iter(rest)), len(rest), self.shows), 1):
            journal.append(record)
            if index % SYNC == 0:
                journal.sync()
        return self._table(journal.record)

    def _table(self, record: Callable[[str], Record]) -> "DataFrame":
        pairs = zip(self.data.samples, self.data.truth, strict=True)
        rows = [_row(sample, label, self.data.split, record(sample.id)) for sample, label in pairs]
        return table(rows, self.work.pipeline.recipe.labels)


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
    origin = DATA if sample.pose else NONE
    return {**known, **pose, "label": "", "flags": "", "pose_from": origin, "status": status, "error": error}
