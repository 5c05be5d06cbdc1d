"""From rows to metrics: all figures of an evaluation as plain data."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ferkit.evaluation.bins import SHIFT, Bins, by_pitch, by_signed_yaw, by_yaw
from ferkit.evaluation.calibration import calibration
from ferkit.evaluation.figures import Answers, summary
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import NO_FACE, UNREADABLE, answers, drawn_by, labels_of, probabilities

if TYPE_CHECKING:
    from pandas import DataFrame

FEW = 10  # faces of a class below which its figures say little


def score(rows: "DataFrame", bootstrap: Bootstrap) -> dict[str, Any]:
    """The metrics of checked rows.

    ``accuracy`` and the like are of scored faces; ``accuracy_all`` is of all annotated faces, a missed one being wrong.
    """
    own = answers(rows)
    scored = own.scored
    labels = labels_of(rows)
    yaw, pitch = (rows[name].to_numpy(dtype=np.float64) for name in ("yaw", "pitch"))
    return {
        **summary(own, bootstrap),
        **counts(rows),
        "labels": list(labels),
        "bootstrap": {
            "resamples": bootstrap.resamples,
            "seed": bootstrap.seed,
            "level": bootstrap.level,
            "drawn_by": drawn_by(rows),
            "units": len(np.unique(own.units)),
        },
        "per_class": per_class(own.select(scored), Counter(rows["true_label"]), labels),
        "confusion": confusion(own.select(scored), len(labels)),
        **calibration(probabilities(rows)[scored], own.truth[scored]),
        "by_yaw": in_bins(rows, own, by_yaw(yaw), bootstrap),
        "by_signed_yaw": in_bins(rows, own, by_signed_yaw(yaw), bootstrap),
        "by_pitch": in_bins(rows, own, by_pitch(pitch), bootstrap),
        "by_yaw_shifted": {
            f"{shift:+g}": in_bins(rows, own, by_yaw(yaw, shift), bootstrap) for shift in (-SHIFT, SHIFT)
        },
    }


def counts(rows: "DataFrame") -> dict[str, Any]:
    """How many faces were missed, have no pose, or were not turned as they should; and every flag."""
    status = Counter(rows["status"])
    flags = Counter(flag for text in rows["flags"].dropna() for flag in text.split(";") if flag)
    return {
        "n_no_face": status[NO_FACE],
        "n_unreadable": status[UNREADABLE],
        "n_no_pose": int(rows["yaw"].isna().sum()),
        "n_edit_failed": flags["edit_failed"],
        "n_edit_rejected": sum(n for flag, n in flags.items() if flag.startswith("edit_rejected")),
        "flags": dict(sorted(flags.items())),
        "pose_from": dict(Counter(told or "none" for told in rows["pose_from"])),
    }


def per_class(scored: Answers, annotated: Mapping[str, int], labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and support among scored faces by label, and the number annotated; None where undefined."""
    every = list(range(len(labels)))
    guess = scored.guesses[:, 0]
    if len(scored):
        found = precision_recall_fscore_support(scored.truth, guess, labels=every, zero_division=np.nan)
    else:
        found = np.full((4, len(labels)), np.nan)
    return {
        label: {
            "precision": _known(found[0][index]),
            "recall": _known(found[1][index]),
            "f1": _known(found[2][index]),
            "support": int(np.sum(scored.truth == index)),
            "annotated": int(annotated.get(label, 0)),
            "few": bool(np.sum(scored.truth == index) < FEW),
        }
        for index, label in enumerate(labels)
    }


def confusion(scored: Answers, classes: int) -> list[list[int]]:
    """Counts, a row a true label, a column an answer, in the order of ``labels``."""
    if not len(scored):
        return [[0] * classes for _ in range(classes)]
    found: list[list[int]] = confusion_matrix(scored.truth, scored.guesses[:, 0], labels=range(classes)).tolist()
    return found


def in_bins(rows: "DataFrame", own: Answers, bins: Bins, bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    """The summary of each bin, with its class mix; a missed face is in the bin of its known pose, else in ``no pose``."""
    found = {}
    for name, there in bins.items():
        mix = rows.loc[there, "true_label"].value_counts()
        found[name] = {
            **summary(own.select(there), bootstrap),
            "class_mix": {label: int(mix.get(label, 0)) for label in labels_of(rows)},
        }
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
