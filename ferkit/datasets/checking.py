"""What is on disk of a data set, beside what was published of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ferkit.errors import ImageError
from ferkit.images import decode, shown
from ferkit.interfaces import Dataset, Remark, Sample

CHUNK = 1024  # pictures under way at once
Seen = ImageError | tuple[int, int] | None
"""What is wrong with a picture, else its width and height, or None where it was not decoded."""


@dataclass(frozen=True)
class Count:
    """Samples of a split and label, None for all; ``published`` is None where nothing was."""

    split: str | None
    label: str | None
    n: int
    published: int | None


@dataclass(frozen=True)
class Findings:
    """What was found of a data set.

    Attributes:
        counts: By split and label, with sums. A sample without a label counts for ``""``.
        missing: Samples whose picture is not there: id and path.
        unreadable: Samples whose picture can't be read: id and why.
        boxes: Samples whose box lies far beyond their picture: id and why. None of them can be evaluated.
        duplicates: Ids that several samples have.
        unannotated: Pictures in the data's folders that no annotation names.
        remarks: What the data set says of its files.
        terms: Who may use it for what; empty where nothing is known.
    """

    counts: tuple[Count, ...]
    missing: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]
    boxes: tuple[tuple[str, str], ...]
    duplicates: tuple[str, ...]
    unannotated: tuple[str, ...]
    remarks: tuple[Remark, ...]
    terms: str

    @property
    def sound(self) -> bool:
        """Whether every sample has a picture that can be read, a box in it, and an id and a label of its own."""
        conflicts = any(remark.conflict for remark in self.remarks)
        return not (self.missing or self.unreadable or self.boxes or self.duplicates or conflicts)

    @property
    def empty(self) -> tuple[str, ...]:
        """Published splits of which there is nothing."""
        totals = [count for count in self.counts if count.split is not None and count.label is None]
        return tuple(str(count.split) for count in totals if count.published and not count.n)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def check(dataset: Dataset, *, fast: bool = False, advance: Callable[[int, int], None] = lambda *_: None) -> Findings:
    """Read all samples of a data set, and decode every picture.

    Args:
        dataset: What to check. Where it is :class:`ferkit.Documented`, what that says is among the findings.
        fast: Only look whether pictures are there and not empty.
        advance: Told how many pictures were looked at, and of how many.

    Raises:
        FerkitError: If the annotations can't be read.
    """
    samples = {split: list(dataset.samples(split)) for split in dataset.splits}
    every = [sample for each in samples.values() for sample in each]
    look = _present if fast else _decoded
    problems: dict[str, ImageError] = {}
    boxes: list[tuple[str, str]] = []
    by_picture: dict[str, list[Sample]] = {}
    for sample in every:
        by_picture.setdefault(sample.source, []).append(sample)
    for done, (found, size) in enumerate(_each([each[0] for each in by_picture.values()], look), 1):
        if isinstance(size, ImageError):
            problems[found.source] = size
        elif size:
            boxes += [(sample.id, why) for sample in by_picture[found.source] if (why := _box_fault(sample, size))]
        advance(done, len(by_picture))
    faulty = [(sample, problems[sample.source]) for sample in every if sample.source in problems]
    ids = Counter(sample.id for sample in every)
    return Findings(
        tuple(_counts(samples, getattr(dataset, "published", {}))),
        tuple((sample.id, shown(sample.source)) for sample, _ in faulty if _is_missing(sample)),
        tuple((sample.id, str(error)) for sample, error in faulty if not _is_missing(sample)),
        tuple(boxes),
        tuple(name for name, n in ids.items() if n > 1),
        tuple(getattr(dataset, "unannotated", ())),
        tuple(getattr(dataset, "remarks", ())),
        getattr(dataset, "terms", ""),
    )


def _each(samples: Sequence[Sample], look: Callable[[Sample], Seen]) -> Iterator[tuple[Sample, Seen]]:
    """Samples with what ``look`` says of them, several at once: decoding leaves Python's lock."""
    waiting = iter(samples)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(waiting, CHUNK)):
            yield from zip(chunk, pool.map(look, chunk), strict=True)


def _decoded(sample: Sample) -> Seen:
    try:
        height, width = decode(sample.picture).shape[1:]
    except ImageError as error:
        return error
    return width, height


def _box_fault(sample: Sample, size: tuple[int, int]) -> str:
    from ferkit.datasets.prepared import box_fault

    return box_fault(sample.box, *size) if sample.box else ""


def _present(sample: Sample) -> Seen:
    if sample.image is not None:
        return None
    path = Path(sample.source)
    try:
        if path.is_file() and path.stat().st_size:
            return None
    except OSError as error:
        return ImageError("unreadable", f"{shown(path)}: {error}")
    kind = "empty" if path.is_file() else "unreadable"
    return ImageError(kind, f"{shown(path)} is {'empty (0 bytes)' if kind == 'empty' else 'not there'}")


def _is_missing(sample: Sample) -> bool:
    return sample.image is None and not Path(sample.source).exists()


def _counts(
    samples: dict[str, list[Sample]], published: Mapping[tuple[str | None, str | None], int]
) -> Iterator[Count]:
    found = Counter((split, sample.label or "") for split, each in samples.items() for sample in each)
    splits = [*samples, *sorted({split for split, _ in published if split is not None} - set(samples))]
    for split in splits:
        told = [label for of, label in published if of == split and label is not None]
        labels = [*told, *sorted({label for of, label in found if of == split} - set(told))]
        for label in labels:
            yield Count(split, label, found[split, label], published.get((split, label)))
        yield Count(split, None, len(samples.get(split, ())), published.get((split, None)))
    yield Count(None, None, found.total(), published.get((None, None)))
