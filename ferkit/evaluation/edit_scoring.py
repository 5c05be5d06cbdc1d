"""From the rows of a normalizer's evaluation to its figures, as plain data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ferkit.evaluation.bins import by_yaw
from ferkit.evaluation.contrast import differences_of_part
from ferkit.evaluation.edits import AFTER, BEFORE, COSINE, encoders_of
from ferkit.evaluation.figures import SMALL, Answers, mean, share
from ferkit.evaluation.resampling import Bootstrap, Floats, Integers
from ferkit.evaluation.rows import NO_FACE, UNREADABLE, drawn_by, units
from ferkit.evaluation.scoring import confusion
from ferkit.labels import canonical

if TYPE_CHECKING:
    from pandas import DataFrame

UNCHANGED = 5.0
"""Degrees of yaw below which an edit has turned nothing."""
WITHIN = (10, 15)
"""Degrees of |yaw| left that count as frontal."""
LEFT_ALONE, FAILED, TURNED, REJECTED = "not_turned", "failed", "turned", "rejected"
_LEFT = (NO_FACE, UNREADABLE, LEFT_ALONE)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Part:
    """Some faces of an evaluation.

    Attributes:
        rows: Of ``edits.parquet``.
        units: What a bootstrap draws, int64 ``[N]``.
        labels: The judge's.
        bootstrap: Gives intervals.
    """

    rows: "DataFrame"
    units: Integers
    labels: Sequence[str]
    bootstrap: Bootstrap

    def select(self, which: Mask) -> "Part":
        """Those of them."""
        return replace(self, rows=self.rows[which], units=self.units[which])

    def values(self, name: str) -> Floats:
        """A column of numbers, NaN where unknown."""
        found: Floats = self.rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        return found

    def decided(self, *decisions: str) -> Mask:
        """On which of them one of these was decided; ``rejected`` stands for every reason."""
        return np.array([text.partition(":")[0] in decisions for text in self.rows["decision"]], dtype=bool)

    def share(self, true: Mask) -> dict[str, Any]:
        """The share that something is true of."""
        return share(true, self.units, self.bootstrap)

    def mean(self, values: Floats) -> dict[str, Any]:
        """The mean of what is known."""
        return mean(values, self.units, self.bootstrap)


def score_edits(rows: "DataFrame", labels: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """All figures.

    ``returned`` is of every face that something came back for, ``accepted`` of those of them that the recipe's gate let pass.

    Args:
        rows: Of ``edits.parquet``.
        labels: The judge's.
        bootstrap: Gives intervals.
    """
    every = Part(rows, units(rows), labels, bootstrap)
    returned, accepted = (every.select(every.decided(*those)) for those in ((TURNED, REJECTED), (TURNED,)))
    good = quality(returned)
    return {
        **fate(every),
        "labels": list(labels),
        "encoders": encoders_of(rows),
        "bootstrap": {
            "resamples": bootstrap.resamples,
            "seed": bootstrap.seed,
            "level": bootstrap.level,
            "drawn_by": drawn_by(rows),
            "units": len(np.unique(every.units)),
        },
        "pose_from": dict(Counter(told or "none" for told in rows["pose_from"])),
        "returned": good,
        "accepted": good if len(accepted.rows) == len(returned.rows) else quality(accepted),
        "flips": flips(returned),
        "by_yaw": {name: _both(every.select(there)) for name, there in by_yaw(every.values("yaw")).items()},
    }


def _both(part: Part) -> dict[str, Any]:
    return {**fate(part), "returned": quality(part.select(part.decided(TURNED, REJECTED)))}


def fate(part: Part) -> dict[str, Any]:
    """What became of faces. ``turned``, ``failed`` and ``rejected`` are shares of those that the normalizer was asked for."""
    decisions = Counter(part.rows["decision"])
    asked = part.select(~part.decided(*_LEFT))
    return {
        "n": len(part.rows),
        "n_no_face": decisions[NO_FACE],
        "n_unreadable": decisions[UNREADABLE],
        "n_no_pose": int(np.isnan(part.values("yaw")).sum()),
        "n_not_turned": decisions[LEFT_ALONE],
        "n_asked": len(asked.rows),
        "decisions": dict(sorted(decisions.items())),
        **{name: asked.share(asked.decided(name)) for name in (TURNED, FAILED, REJECTED)},
        "seconds": {
            **_spread(asked.values("seconds")),
            "n_cached": int(asked.rows["cached"].fillna(False).sum()),
        },
    }


def quality(part: Part) -> dict[str, Any]:
    """How good what came back is, of faces that something came back for.

    Angles are by one estimator before and after, of faces where it knows both; ``n_no_pose`` is the others. ``unchanged``
    is the share whose yaw differs by less than :data:`UNCHANGED`.
    """
    before, after = part.values("yaw_before"), part.values("yaw_after")
    known = np.isfinite(before) & np.isfinite(after)
    posed = part.select(known)
    left = np.abs(after[known])
    return {
        "n": len(part.rows),
        "too_small": len(part.rows) < SMALL,
        "one_face": part.share(part.values("faces_after") == 1),
        "n_no_pose": int((~known).sum()),
        **{
            f"{name}_{when}": _spread(np.abs(posed.values(f"{name}_{when}")))
            for name in ("yaw", "pitch")
            for when in ("before", "after")
        },
        **{f"within_{limit}": posed.share(left <= limit) for limit in WITHIN},
        "unchanged": posed.share(np.abs(after - before)[known] < UNCHANGED),
        "judge": differences_of_part(_answers(part), part.bootstrap),
        "neutral_drift": part.mean(part.values("neutral_after") - part.values("neutral_before")),
        "cosine": {name: part.mean(part.values(f"{name}{COSINE}")) for name in encoders_of(part.rows)},
        "frontal": {name: _beside_frontal(part, name) for name in encoders_of(part.rows)},
    }


def _beside_frontal(part: Part, encoder: str) -> dict[str, Any]:
    """How close faces are to their true frontal views before and after, by cosine, where all three were seen."""
    before, after = part.values(f"{encoder}{BEFORE}"), part.values(f"{encoder}{AFTER}")
    each = {"before": before, "after": after}
    seen = np.isfinite(before) & np.isfinite(after)
    paired = part.select(seen)
    return {
        "n_paired": int(part.rows["frontal"].notna().sum()),
        "n": int(seen.sum()),
        **{when: float(cosines[seen].mean()) if seen.any() else None for when, cosines in each.items()},
        "difference": paired.mean((after - before)[seen]),
        "closer": paired.share((after > before)[seen]),
    }


def flips(part: Part) -> list[list[int]]:
    """What the judge said before (rows) and after (columns), counts in the order of ``labels``."""
    number = _numbers(part.labels)
    said = [[_number(name, number) for name in part.rows[f"label_{when}"]] for when in ("before", "after")]
    before, after = (np.array(each, dtype=np.int64) for each in said)
    answers = Answers(len(number), before, after[:, None], part.units)
    return confusion(answers.select((before < len(number)) & (after < len(number))), len(number))


def _answers(part: Part) -> Answers:
    """The truth, and what the judge says of the face before and after."""
    number = _numbers(part.labels)
    said = [[_number(name, number) for name in part.rows[f"label_{when}"]] for when in ("before", "after")]
    truth = np.array([_number(name, number) for name in part.rows["true_label"]], dtype=np.int64)
    return Answers(len(number), truth, np.array(said, dtype=np.int64).T, part.units)


def _numbers(labels: Sequence[str]) -> dict[str, int]:
    return {canonical(label): index for index, label in enumerate(labels)}


def _number(label: str | None, numbers: dict[str, int]) -> int:
    """The number of a label, C for none."""
    return len(numbers) if label is None else numbers[canonical(label)]


def _spread(values: Floats) -> dict[str, Any]:
    """Median and 90th percentile of what is known."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"n": 0, "median": None, "p90": None}
    median, high = np.quantile(known, (0.5, 0.9))
    return {"n": len(known), "median": float(median), "p90": float(high)}
