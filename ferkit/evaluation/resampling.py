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
CHUNK = 2_000_000  # numbers held at once, 16 MB
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
        drawn_at_once = min(int(self.units.sum()), SPARSE_DRAWS * len(self.units))
        step = max(CHUNK // max(drawn_at_once, self.counts.shape[1]), 1)
        for start in range(0, bootstrap.resamples, step):
            size = min(step, bootstrap.resamples - start)
            drawn = np.empty((len(self.units), size))
            for stratum in np.unique(self.strata):
                own = np.flatnonzero(self.strata == stratum)
                drawn[own] = _drawn(rng, self.units[own], size)
            yield (self.counts.T @ drawn).T


def _drawn(rng: np.random.Generator, units: Integers, resamples: int) -> Integers:
    """How often each kind is drawn, ``[T, resamples]``, among ``units`` of each."""
    total, kinds = int(units.sum()), len(units)
    if total >= SPARSE_DRAWS * kinds:
        return rng.multinomial(total, units / total, size=resamples).T
    places = np.repeat(np.arange(kinds, dtype=np.int64) * resamples, units)
    drawn = places[rng.integers(total, size=(total, resamples), dtype=np.int32)]
    drawn += np.arange(resamples)
    return np.bincount(drawn.ravel(), minlength=kinds * resamples).reshape(kinds, resamples)


def _strata(counts: sparse.csr_array, found: Integers, cells: Integers, classes: Integers | None) -> Integers:
    """Per kind the class of its rows, or -1 for several."""
    if classes is None:
        return np.zeros(counts.shape[0], dtype=np.int64)
    of_cell = np.zeros(len(found), dtype=np.int64)
    of_cell[np.searchsorted(found, cells)] = classes
    by_class = counts @ np.eye(of_cell.max() + 1)[of_cell]
    return np.where((by_class > 0).sum(1) == 1, by_class.argmax(1), -1)
