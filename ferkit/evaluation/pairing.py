"""Two evaluations, row by row: the same faces by their ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ferkit.errors import FerkitError
from ferkit.evaluation.figures import Answers
from ferkit.evaluation.rows import SCORED, labels_of, units
from ferkit.labels import canonical

if TYPE_CHECKING:
    from pandas import DataFrame

NAMED = 5  # ids in a message
CHANGES = ("gained", "lost", "both right", "both wrong", "missed")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Faces that two evaluations have in common.

    Attributes:
        rows: One row an id, in A's order: ``id, source, x0, y0, x1, y1, true_label, yaw``, and ``label_a, confidence_a,
            status_a`` and the same of B, and ``change``, one of :data:`CHANGES`. Box and yaw are A's.
        answers: As numbers; A first.
        labels: A's labels, then what B has beside them.
        counts: Rows that A, B and both have, and the labels that only one knows.
    """

    rows: "DataFrame"
    answers: Answers
    labels: tuple[str, ...]
    counts: dict[str, Any]


def paired(a: "DataFrame", b: "DataFrame") -> Pairs:
    """Pair checked rows by ``id``.

    Labels are compared in their canonical form. Where the two know different ones, an answer that only one of them can give
    stays what it is: right or wrong.

    Raises:
        FerkitError: If no id is common, or the true labels of one differ.
    """
    mine, other = labels_of(a), labels_of(b)
    labels = {canonical(label): label for label in (*reversed(other), *reversed(mine))}
    ordered = tuple(dict.fromkeys(labels[canonical(label)] for label in (*mine, *other)))
    left = a.set_index("id", drop=False)
    right = b.set_index("id", drop=False)
    common = [key for key in left.index if key in right.index]
    if not common:
        raise FerkitError(
            f"the two have no id in common: A has {_some(left.index)}, B has {_some(right.index)}. Evaluate both on the same "
            "data, with paths that lead to the same folder"
        )
    left, right = left.loc[common], right.loc[common]
    _require_same_truth(left, right)
    number = {canonical(label): index for index, label in enumerate(ordered)}
    truth = np.array([number[canonical(label)] for label in left["true_label"]], dtype=np.int64)
    guesses = np.stack([_guesses(side, number) for side in (left, right)], axis=1)
    counts = {
        "n_a": len(a),
        "n_b": len(b),
        "n_paired": len(common),
        "only_a": len(a) - len(common),
        "only_b": len(b) - len(common),
        "labels_only_a": _beside(mine, other),
        "labels_only_b": _beside(other, mine),
    }
    answers = Answers(len(ordered), truth, guesses, units(left))
    return Pairs(_table(left, right, answers), answers, ordered, counts)


def _guesses(rows: "DataFrame", number: dict[str, int]) -> Any:
    pairs = zip(rows["status"], rows["label"], strict=True)
    none = len(number)
    return np.array([number[canonical(label)] if status == SCORED else none for status, label in pairs], dtype=np.int64)


def _require_same_truth(left: "DataFrame", right: "DataFrame") -> None:
    pairs = zip(left["id"], left["true_label"], right["true_label"], strict=True)
    if other := [(key, one, two) for key, one, two in pairs if canonical(one) != canonical(two)]:
        told = "; ".join(f"{key!r} is {one} in A and {two} in B" for key, one, two in other[:NAMED])
        raise FerkitError(
            f"{len(other)} of {len(left)} faces have another true label in each: {told}. These are different data, or their "
            "labels were changed: evaluate both again on the same"
        )


def _beside(mine: Sequence[str], other: Sequence[str]) -> list[str]:
    known = {canonical(label) for label in other}
    return [label for label in mine if canonical(label) not in known]


def _some(ids: Any) -> str:
    return f"{', '.join(map(repr, ids[:2]))} and {max(len(ids) - 2, 0)} more"


def _table(left: "DataFrame", right: "DataFrame", answers: Answers) -> "DataFrame":
    right_a, right_b = (answers.guesses == answers.truth[:, None]).T
    kinds = [~answers.scored, right_b & ~right_a, right_a & ~right_b, right_a & right_b]
    change = np.select(kinds, ["missed", "gained", "lost", "both right"], "both wrong")
    both = left[["id", "source", "x0", "y0", "x1", "y1", "true_label", "yaw"]].reset_index(drop=True)
    for name, side in (("a", left), ("b", right)):
        for column in ("label", "confidence", "status"):
            both[f"{column}_{name}"] = side[column].to_numpy()
    return both.assign(change=change)
