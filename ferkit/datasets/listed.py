"""What data sets with a list of annotations share."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ferkit.datasets import PathConfig
from ferkit.datasets.folder import check_folder
from ferkit.datasets.layouts import unlike
from ferkit.datasets.names import ALL, check_split, in_order
from ferkit.datasets.subsets import Subset
from ferkit.errors import FerkitError
from ferkit.folders import find_images
from ferkit.images import shown
from ferkit.interfaces import Context, Remark, Sample

OTHERWISE = "listed again otherwise, the first was taken"
Counts = Mapping[tuple[str | None, str | None], int]
"""Numbers of samples by split and label, None for all."""


class Listed(ABC):
    """A data set whose annotations are read when they are first needed; pictures are not looked for.

    A sample that is listed again is left out. What is left out or changed is told in ``remarks``.

    Attributes:
        terms: Who may use it for what.
        folders: Where its pictures lie, if these are known by annotations only.
    """

    terms: str = ""
    is_crop: bool = False
    folders: tuple[Path, ...] = ()
    _path: Path
    _subset: Subset | None = None

    @abstractmethod
    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        """Where each sample stands, its split, and itself."""

    @property
    def _counts(self) -> Counts:
        """The published counts of the whole set."""
        return {}

    def _key(self, sample: Sample) -> str:
        """What published lists call a sample."""
        return sample.id

    @property
    def published(self) -> Counts:
        """Published counts by split and label, None for all; of a subset its size."""
        return {(None, None): self._subset.listing.published} if self._subset else self._counts

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: train, validation and test first."""
        return in_order(self._samples)

    def samples(self, split: str) -> Iterator[Sample]:
        """The samples of ``split`` in the order of the list.

        Raises:
            FerkitError: If there is no such split, or the list can't be read.
        """
        check_split(split, self.splits, shown(self._path))
        yield from self._samples[split]

    @property
    def remarks(self) -> Sequence[Remark]:
        """What was left out or changed."""
        assert self._samples
        return tuple(Remark(what, tuple(where), what == OTHERWISE) for what, where in self._remarks.items())

    @property
    def unannotated(self) -> Sequence[str]:
        """Pictures in its folders that no annotation names."""
        assert self._samples
        known = {str(Path(source)) for source in self._named}
        found = (str(path) for folder in self.folders for path in pictures(folder))
        return tuple(shown(path) for path in found if path not in known)

    @cached_property
    def _named(self) -> set[str]:
        """The pictures that annotations name, also those of samples that are left out."""
        return set()

    @cached_property
    def _remarks(self) -> dict[str, list[str]]:
        return defaultdict(list)

    def _remark(self, what: str, where: str) -> None:
        self._remarks[what].append(where)

    @cached_property
    def _samples(self) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        first: dict[str, Sample] = {}
        for where, split, sample in self._read():
            self._named.add(sample.source)
            same = first.setdefault(sample.id, sample)
            if same is sample:
                found.setdefault(split, []).append(sample)
            elif (same.label, same.box) == (sample.label, sample.box):
                self._remark("listed again, left out", f"{where}: {sample.id}")
            else:
                told = f"{where}: {sample.id} is {same.label}, then {sample.label}"
                self._remark(
                    OTHERWISE, told if same.label != sample.label else f"{where}: {sample.id}, with another box"
                )
        if not found:
            raise FerkitError(f"{shown(self._path)} lists no face: copy or unpack the data again")
        return self._subset.of(found, self._key, self._remark) if self._subset else found


class Named(Listed):
    """A data set of pictures whose names tell all, in the only split ``all``.

    Raises:
        FerkitError: If ``path`` is no folder; when it is listed, if no file is named so.
    """

    _title: str
    _example: str

    def __init__(self, config: PathConfig, context: Context) -> None:
        del context
        self._path = Path(config.path)

    @abstractmethod
    def _sample(self, path: Path) -> Sample | None:
        """The picture's sample; None where its name says none."""

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        found = False
        for path in pictures(self._path):
            sample = self._sample(path)
            if sample is None:
                self._remark(f"pictures that are not named as in {self._title}, left out", path.name)
            else:
                found = True
                yield str(path), ALL, sample
        if not found:
            raise unlike(self._path, self._title.lower(), f"pictures named like {self._example}")


def class_counts(classes: Sequence[str], splits: Mapping[str, Sequence[int]]) -> Counts:
    """Counts by split in the order of ``classes``, with their sums."""
    counts: dict[tuple[str | None, str | None], int] = {}
    for split, each in splits.items():
        counts |= {(split, label): n for label, n in zip(classes, each, strict=True)}
        counts[split, None] = sum(each)
    return {**counts, (None, None): sum(map(sum, splits.values()))}


def pictures(folder: Path) -> Iterator[Path]:
    """Every picture below ``folder``, sorted.

    Raises:
        FerkitError: If it is no folder, or can't be searched.
    """
    check_folder(folder)
    for found in find_images([folder]):
        if isinstance(found, tuple):
            raise found[1]
        yield found
