"""The bootstrap (Efron 1979) of figures that depend on counts alone, such as those of a confusion matrix.

Every row is in a *cell*, say (truth, answer); rows that belong together, say of one subject, are a *unit*, and units are what
is drawn. Units with the same counts by cell are alike, so a resample is one multinomial draw over the different kinds of
unit: the same distribution as drawing units one by one, at a cost that depends on the kinds, not on the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
CHUNK = 4_000_000  # numbers held at once, 32 MB
SPARSE_DRAWS = 8  # with fewer units a kind than this, drawing them one by one is faster than a multinomial


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        resamples: How many.
        seed: Of the draws; each figure starts from it anew, so that figures don't depend on each other.
        level: Share of resamples within the interval.
    """

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0 < self.level < 1 or self.seed < 0:
            raise ValueError(f"resamples must be at least 100, level inside 0..1, seed at least 0, not {self}")


@dataclass(frozen=True)
class Kinds:
    """The different kinds of unit.

    Attributes:
        cells: The cells that occur, ascending.
        counts: Per kind and cell the number of rows, sparse ``[T, K]``.
        units: Per kind the number of units.
        strata: Per kind its stratum.
    """

    cells: Integers
    counts: sparse.csr_array
    units: Integers
    strata: Integers

    @classmethod
    def of(cls, cells: Integers, units: Integers, classes: Integers | None = None) -> "Kinds":
        """Kinds of the rows' units.

        Args:
            cells: Cell of each row, ``[N]``, N > 0.
            units: Unit of each row.
            classes: Class of each row, to stratify by: units of one class are drawn among themselves, and so are the units of
                several. None: all units are one stratum.
        """
        found, cell = np.unique(cells, return_inverse=True)
        _, unit = np.unique(units, return_inverse=True)
        size = np.bincount(unit)
        alone = size[unit] == 1
        singles = np.bincount(cell[alone], minlength=len(found))
        kinds = [sparse.eye_array(len(found), dtype=np.float64, format="csr")[singles > 0]]
        numbers = [singles[singles > 0]]
        if not alone.all():
            _, several = np.unique(unit[~alone], return_inverse=True)
            table = np.zeros((several.max() + 1, len(found)), dtype=np.int32)
            np.add.at(table, (several, cell[~alone]), 1)
            distinct, number = np.unique(table, axis=0, return_counts=True)
            kinds.append(sparse.csr_array(distinct.astype(np.float64)))
            numbers.append(number)
        counts = sparse.csr_array(sparse.vstack(kinds, format="csr"))
        return cls(found, counts, np.concatenate(numbers), _strata(counts, found, cells, classes))

    def resamples(self, bootstrap: Bootstrap) -> Iterator[Floats]:
        """Rows in each cell, ``[b, K]`` with the resamples in chunks."""
        rng = np.random.default_rng(bootstrap.seed)
        step = max(CHUNK // max(self.counts.shape), 1)
        for start in range(0, bootstrap.resamples, step):
            drawn = np.empty((min(step, bootstrap.resamples - start), len(self.units)))
            for stratum in np.unique(self.strata):
                own = np.flatnonzero(self.strata == stratum)
                drawn[:, own] = _drawn(rng, self.units[own], len(drawn))
            yield (self.counts.T @ drawn.T).T


def _drawn(rng: np.random.Generator, units: Integers, resamples: int) -> Integers:
    """How often each kind is drawn, ``[resamples, T]``, among ``units`` of each."""
    total, kinds = int(units.sum()), len(units)
    if total >= SPARSE_DRAWS * kinds:
        return rng.multinomial(total, units / total, size=resamples)
    owners = np.repeat(np.arange(kinds, dtype=np.int32), units)
    step = max(CHUNK // total, 1)
    parts = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        places = owners[rng.integers(total, size=(rows, total), dtype=np.int32)] + np.arange(rows)[:, None] * kinds
        parts.append(np.bincount(places.ravel(), minlength=rows * kinds).reshape(rows, kinds))
    return np.concatenate(parts)


def _strata(counts: sparse.csr_array, found: Integers, cells: Integers, classes: Integers | None) -> Integers:
    """Per kind the class of its rows, or -1 for several."""
    if classes is None:
        return np.zeros(counts.shape[0], dtype=np.int64)
    of_cell = np.zeros(len(found), dtype=np.int64)
    of_cell[np.searchsorted(found, cells)] = classes
    by_class = counts @ np.eye(of_cell.max() + 1)[of_cell]
    return np.where((by_class > 0).sum(1) == 1, by_class.argmax(1), -1)
