"""How B differs from A on the same faces: differences with intervals, exact tests, who gained and who lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ferkit.evaluation.bins import by_yaw
from ferkit.evaluation.figures import NAMES, SMALL, Answers, percentiles, resampled
from ferkit.evaluation.pairing import Pairs
from ferkit.evaluation.resampling import Bootstrap


def contrast(pairs: Pairs, bootstrap: Bootstrap) -> dict[str, Any]:
    """All figures of a comparison as plain data; ``by_yaw`` is by A's pose, its p-values adjusted over its bins."""
    yaw = pairs.rows["yaw"].to_numpy(dtype=np.float64)
    bins = {name: differences_of_part(pairs.answers.select(there), bootstrap) for name, there in by_yaw(yaw).items()}
    tested = {name: each["mcnemar_p"] for name, each in bins.items() if each["n_scored"]}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        **pairs.counts,
        "labels": list(pairs.labels),
        "bootstrap": {
            "resamples": bootstrap.resamples,
            "seed": bootstrap.seed,
            "level": bootstrap.level,
            "units": len(np.unique(pairs.answers.units)),
        },
        **differences(pairs.answers, bootstrap),
        "by_yaw": {name: {**each, "holm_p": adjusted.get(name)} for name, each in bins.items()},
    }


def differences(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """A's and B's figures and B - A of each with its bootstrap interval, over resamples of the same faces.

    Accuracy, UAR, macro-F1, gained and lost faces are of the faces that both answered for. ``harm_rate`` is the share of
    these that were right before, in A, and are wrong after, in B. McNemar's test (1947) is exact, and takes faces as
    independent.
    """
    n, scored = len(answers), answers.scored
    empty = dict.fromkeys(NAMES)
    if n == 0:
        return {**_flips(answers), "a": empty, "b": empty, "difference": {**empty, **_intervals({})}}
    a, b = answers.observed()
    apart: Mapping[str, Any] = {}
    if len(np.unique(answers.units[scored])) > 1:
        one, two = resampled(answers, bootstrap)
        apart = {name: percentiles(two[name] - one[name], bootstrap.level) for name in NAMES}
    return {
        **_flips(answers),
        "a": {name: _known(value) for name, value in a.items()},
        "b": {name: _known(value) for name, value in b.items()},
        "difference": {**{name: _known(b[name] - a[name]) for name in NAMES}, **_intervals(apart)},
    }


def differences_of_part(answers: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """The same of a part of the faces: where these are few, a resample repeats the few, and its interval says too much."""
    found = differences(answers, bootstrap)
    return found if not found["too_small"] else {**found, "difference": {**found["difference"], **_intervals({})}}


def _flips(answers: Answers) -> dict[str, Any]:
    """Who gained and who lost, among the faces that both answered for."""
    scored = answers.scored
    right_a, right_b = (answers.guesses[scored] == answers.truth[scored, None]).T
    n, gained, lost = int(scored.sum()), int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    return {
        "n": len(answers),
        "n_scored": n,
        "too_small": n < SMALL,
        "gained": gained,
        "lost": lost,
        "harm_rate": lost / n if n else None,
        "gain_rate": gained / n if n else None,
        "mcnemar_p": mcnemar(gained, lost),
    }


def _intervals(found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_interval": found.get(name) for name in NAMES}


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value: that changed faces are as often gained as lost."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, step down (Holm 1979)."""
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(values, dtype=np.float64)[order] * factors), 1.0)
    adjusted = np.empty(len(values))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
