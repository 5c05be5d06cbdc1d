"""Accuracy, UAR and macro-F1 with their intervals, of one system's answers or of two systems' on the same faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ferkit.evaluation.resampling import CHUNK, Bootstrap, Floats, Integers, Kinds

SMALL = 50  # fewer scored faces than this get Wilson's interval, and a mark
NAMES = ("accuracy", "accuracy_all", "uar", "macro_f1")
Interval = list[float] | None


@dataclass(frozen=True, eq=False)
class Answers:
    """What was true of N faces, and what one or two systems said.

    Attributes:
        classes: C, the number of labels.
        truth: int64 ``[N]``, below C.
        guesses: int64 ``[N, S]`` of S systems; C where a system gave no answer.
        units: int64 ``[N]``: faces with the same number are drawn together.
    """

    classes: int
    truth: Integers
    guesses: Integers
    units: Integers

    def __len__(self) -> int:
        return len(self.truth)

    def select(self, rows: NDArray[Any]) -> "Answers":
        """The faces at ``rows``, int64 or bool."""
        return Answers(self.classes, self.truth[rows], self.guesses[rows], self.units[rows])

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which faces all systems answered for."""
        scored: NDArray[np.bool_] = np.asarray((self.guesses < self.classes).all(1))
        return scored

    def kinds(self, by_class: bool = False) -> Kinds:
        """What a bootstrap draws; ``by_class``: stratified."""
        cells = self.truth.copy()
        for guess in self.guesses.T:
            cells = cells * (self.classes + 1) + guess
        return Kinds.of(cells, self.units, self.truth if by_class else None)

    def figures(self, counts: Floats, cells: Integers) -> list[dict[str, Floats]]:
        """Per system :data:`NAMES` to ``[b]``, of ``counts`` ``[b, K]`` in ``cells`` ``[K]``.

        Accuracy, UAR (recall over the classes that occur) and macro-F1 (over the classes that occur or are answered) are of
        the faces that all systems answered for; ``accuracy_all`` is of all, where no answer is a wrong one. NaN where
        there is nothing to average over.
        """
        size, rest = self.classes + 1, cells
        guesses: list[Integers] = []
        for _ in range(self.guesses.shape[1]):
            rest, guess = np.divmod(rest, size)
            guesses.insert(0, guess)
        scored = np.all([guess < self.classes for guess in guesses], axis=0)
        return [_figures(counts, rest, guess, scored, self.classes) for guess in guesses]

    def observed(self) -> list[dict[str, float]]:
        """:data:`NAMES` of each system, NaN where there is nothing to average over."""
        kinds = self.kinds()
        counts = (kinds.units @ kinds.counts)[None]
        return [{name: float(value[0]) for name, value in each.items()} for each in self.figures(counts, kinds.cells)]


def _figures(counts: Floats, truth: Integers, guess: Integers, scored: NDArray[np.bool_], n: int) -> dict[str, Floats]:
    into = np.zeros((len(truth), n * n))
    into[np.flatnonzero(scored), (truth * n + guess)[scored]] = 1
    confusion = (counts @ into).reshape(-1, n, n)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    support, answered = confusion.sum(2), confusion.sum(1)
    return {
        "accuracy": _ratio(right.sum(1), support.sum(1)),
        "accuracy_all": _ratio(counts[:, truth == guess].sum(1), counts.sum(1)),
        "uar": _mean(_ratio(right, support)),
        "macro_f1": _mean(_ratio(2 * right, support + answered)),
    }


def _ratio(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
    return found


def _mean(values: Floats) -> Floats:
    """Mean over the classes there are, ``[b, C]`` to ``[b]``."""
    return _ratio(np.nansum(values, 1), np.isfinite(values).sum(1).astype(np.float64))


def resampled(answers: Answers, bootstrap: Bootstrap) -> list[dict[str, Floats]]:
    """Per system the figures of every resample, ``[resamples]`` each. Those of UAR are stratified by class."""
    parts: list[list[dict[str, Floats]]] = []
    for by_class in (False, True):
        kinds = answers.kinds(by_class)
        chunks = [answers.figures(counts, kinds.cells) for counts in kinds.resamples(bootstrap)]
        parts.append(
            [
                {name: np.concatenate([chunk[system][name] for chunk in chunks]) for name in NAMES}
                for system in range(answers.guesses.shape[1])
            ]
        )
    return [{**plain, "uar": stratified["uar"]} for plain, stratified in zip(*parts, strict=True)]


def percentiles(values: Floats, level: float) -> Interval:
    """The percentile interval of resampled values; None where there are none."""
    known = values[np.isfinite(values)]
    tail = (1 - level) / 2
    return [float(bound) for bound in np.quantile(known, (tail, 1 - tail))] if len(known) else None


def wilson(right: int, n: int, level: float = 0.95) -> Interval:
    """The interval of a share by Wilson (1927), None for n = 0."""
    if n == 0:
        return None
    low, high = binomtest(right, n).proportion_ci(level, method="wilson")
    return [float(low), float(high)]


def share(true: NDArray[np.bool_], units: Integers, bootstrap: Bootstrap) -> dict[str, Any]:
    """The share of faces that something is true of, with the interval that an accuracy has."""
    answers = Answers(2, np.ones(len(true), dtype=np.int64), true.astype(np.int64)[:, None], units)
    found = summary(answers, bootstrap)
    return {"n": len(true), "share": found["accuracy"], "interval": found["accuracy_interval"]}


def mean(values: Floats, units: Integers, bootstrap: Bootstrap) -> dict[str, Any]:
    """The mean of those values that are known, with the percentile interval of a bootstrap of units.

    Below :data:`SMALL` values, where that is too narrow, and for a single unit it has none.
    """
    known = np.isfinite(values)
    own, n = values[known], int(known.sum())
    _, unit = np.unique(units[known], return_inverse=True)
    sums, sizes = np.bincount(unit, own), np.bincount(unit)
    found = {"n": n, "mean": float(own.mean()) if n else None, "interval": None}
    if n < SMALL or len(sums) < 2:
        return found
    rng, step, alike = np.random.default_rng(bootstrap.seed), max(CHUNK // len(sums), 1), bool(np.ptp(sizes) == 0)
    drawn = []
    for start in range(0, bootstrap.resamples, step):
        picks = rng.integers(len(sums), size=(min(step, bootstrap.resamples - start), len(sums)), dtype=np.int32)
        count = len(sums) * sizes[0] if alike else sizes[picks].sum(1)
        drawn.append(sums[picks].sum(1) / count)
    return {**found, "interval": percentiles(np.concatenate(drawn), bootstrap.level)}


def summary(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """Figures of one system with their intervals, as plain data; None where there is nothing to tell.

    Intervals are percentiles of the bootstrap. Below :data:`SMALL` scored faces, where these are too narrow, the
    accuracies have Wilson's, which takes faces as independent, and UAR and macro-F1 have none; so do accuracies of which
    no resample differs, all or none being right.
    """
    scored = answers.scored
    n, n_scored = len(answers), int(scored.sum())
    if n == 0:
        return {"n": 0, "n_scored": 0, "too_small": True, **_unknown()}
    (found,) = answers.observed()
    right = int((answers.guesses[:, 0] == answers.truth).sum())
    small = n_scored < SMALL
    drawn: Mapping[str, Floats] = {}
    if not small and len(np.unique(answers.units)) > 1:
        (drawn,) = resampled(answers, bootstrap)
    result: dict[str, Any] = {"n": n, "n_scored": n_scored, "too_small": small, **_unknown()}
    for name, value in found.items():
        result[name] = None if np.isnan(value) else value
        result[f"{name}_interval"] = percentiles(drawn[name], bootstrap.level) if drawn else None
    for name, total in (("accuracy", n_scored), ("accuracy_all", n)):
        if small or (drawn and right in (0, total)):
            result[f"{name}_interval"] = wilson(right, total, bootstrap.level)
    return result


def _unknown() -> dict[str, Any]:
    return dict.fromkeys([*NAMES, *(f"{name}_interval" for name in NAMES)])


def numbered(names: Sequence[object]) -> Integers:
    """Names as numbers, equal ones as equal; the order is that of their first occurrence."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
