"""Data set ``ferplus``: FER2013 with the votes of FER+ (Barsoum et al., ICMI 2016)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from ferkit.datasets import FERPlusConfig
from ferkit.datasets.fer2013 import TERMS, Face, Table, rows, split_of, table_at
from ferkit.datasets.layouts import require, unlike
from ferkit.datasets.listed import Counts, Listed
from ferkit.datasets.subsets import Subset, pose_lists
from ferkit.errors import FerkitError
from ferkit.images import shown
from ferkit.interfaces import Context, Sample
from ferkit.labels import FERPLUS as CLASSES

VOTES = "fer2013new.csv"
_COLUMNS = (*CLASSES, "unknown", "nf")
_SUMS = {"majority": (25060, 3199, 3153), "cross-entropy": (27956, 3505, 3505), "soft": (28389, 3553, 3546)}
_FILES = ("pose_30_ferplus_list.txt", "pose_45_ferplus_list.txt", "jianfei_occlusion_list.txt")
_LISTED = r"(?P<label>\d)/(?P<key>fer\d{7})\.\w+"
SUBSETS = pose_lists(
    [f"FERplus_dir/{file}" for file in _FILES],
    [_LISTED, _LISTED, r"(?P<label>\d)_(?P<key>fer\d{7})\.\w+ .+"],
    [1170, 633, 605],
)
Votes = list[float]
"""Of the eight classes, unknown and no face."""


def majority(votes: Votes) -> Votes:
    """All on one class that has more than half of the votes, single ones taken away; none where there is no such class."""
    left = _without_single(votes)
    most = max(left)
    return (
        [vote if place == left.index(most) else 0.0 for place, vote in enumerate(left)] if most > sum(left) / 2 else []
    )


def cross_entropy(votes: Votes) -> Votes:
    """The most frequent classes, single votes taken away, until these have 75 % of the votes, and at most three.

    None where they have no more than half, or four tie in. Where unknown or no face ties with a class, the classes before
    it stay.
    """
    left = _without_single(votes)
    total, taken = sum(left), [0.0] * len(left)
    integrated = 0.0
    while integrated < 0.75 * total and sum(map(bool, taken)) < 3:
        most = max(left)
        for place in [place for place, vote in enumerate(left) if vote == most]:
            taken[place], left[place] = most, 0.0
            integrated += most
            if place >= len(CLASSES):
                if sum(taken) > most:
                    taken[place] = 0.0
                integrated = total
                break
    return taken if sum(taken) > total / 2 and sum(map(bool, taken)) <= 3 else []


def soft(votes: Votes) -> Votes:
    """All votes as they are."""
    return list(votes)


PROTOCOLS: dict[str, Callable[[Votes], Votes]] = {"majority": majority, "cross-entropy": cross_entropy, "soft": soft}
"""``majority`` and ``cross-entropy`` are those of FER+'s own reader (``src/ferplus.py``); ``soft`` is ours."""


class FERPlus(Listed):
    """FER2013 with labels and votes of FER+, row by row; ``validation`` is PublicTest, ``test`` PrivateTest.

    ``protocol`` decides which faces are kept: those whose most frequent class, of equals the first, is neither unknown nor
    no face once :data:`PROTOCOLS` were applied. Under ``majority`` samples have no votes.

    Raises:
        FerkitError: If the folder lacks either table; when they are read, if they do not belong together, or a row is
            wrong.
    """

    is_crop = True
    terms = f"Labels: MIT. {TERMS}"

    def __init__(self, config: FERPlusConfig, context: Context) -> None:
        del context
        self._path, self._protocol = Path(config.path), config.protocol
        (self._votes,) = require(self._path, "ferplus", (VOTES,))
        table = table_at(self._path)
        if table is None:
            raise unlike(self._path, "ferplus", "fer2013.csv beside fer2013new.csv: FER+ has labels only")
        self._table = Table(table)
        self._subset = Subset.open(config.subset, config.lists, SUBSETS, CLASSES)

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        for face, item in zip_longest(self._table, rows(self._votes)):
            if face is None or item is None:
                raise FerkitError(
                    f"{shown(self._votes)} and {shown(self._table.path)} differ in the number of rows: FER+ belongs to the "
                    "whole fer2013.csv, in its own order"
                )
            if sample := self._sample(face, *item):
                yield face.where, face.split, sample

    def _sample(self, face: Face, where: str, row: dict[str, str]) -> Sample | None:
        votes, name = _votes(row, where), row.get("image name", "")
        if (usage := split_of(row, where)) != face.split or (name and Path(name).stem != face.id):
            raise FerkitError(
                f"{where} is {shown(name) or 'a row without a name'} in {usage}, but {face.where} is {face.id} in "
                f"{face.split}: the rows of the two are not the same"
            )
        if not name:
            self._remark("rows that FER+ calls no face, left out", where)
            return None
        kept = PROTOCOLS[self._protocol](votes)
        best = kept.index(max(kept)) if any(kept) else len(CLASSES)
        if best < len(CLASSES):
            shares = dict(zip(CLASSES, kept, strict=False))  # of the ten, the eight
            return face.sample(CLASSES[best], None if self._protocol == "majority" else shares)
        if self._subset:  # its list has a label for each
            return face.sample(None)
        self._remark(f"without a label by the protocol {self._protocol}, left out", face.id)
        return None

    @property
    def _counts(self) -> Counts:
        splits = ("train", "validation", "test")
        sums = dict(zip(splits, _SUMS[self._protocol], strict=True))
        return {**{(split, None): n for split, n in sums.items()}, (None, None): sum(sums.values())}


def _without_single(votes: Sequence[float]) -> Votes:
    return [vote if vote > 1 else 0.0 for vote in votes]


def _votes(row: dict[str, str], where: str) -> Votes:
    try:
        votes = [float(int(row[name])) for name in _COLUMNS]
    except (KeyError, ValueError) as error:
        raise FerkitError(f"{where}: no count of votes ({error}): is it fer2013new.csv of FER+?") from error
    if min(votes) < 0:
        raise FerkitError(f"{where}: votes are never negative")
    return votes
