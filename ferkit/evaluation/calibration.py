"""Whether probabilities mean what they say."""

from typing import Any

import numpy as np

from ferkit.evaluation.resampling import Floats, Integers

BINS = 15
LEAST = 1e-12  # what a probability of zero counts as in the likelihood


def calibration(probabilities: Floats, truth: Integers) -> dict[str, Any]:
    """NLL, Brier score, ECE and the reliability diagram's data, of scored faces; None where there are none.

    ``brier`` is the mean over faces of the squared errors summed over classes, 0..2 (Brier 1950). ``ece`` is the mean
    distance of accuracy and confidence over 15 bins of equal width, weighted by their faces (Guo et al. 2017).

    Args:
        probabilities: ``[N, C]``.
        truth: ``[N]``, below C.
    """
    n = len(truth)
    if n == 0:
        return {"nll": None, "brier": None, "ece": None, "reliability": []}
    own = probabilities[np.arange(n), truth]
    squares = (probabilities**2).sum(1) - 2 * own + 1
    bins = _reliability(probabilities.max(1), probabilities.argmax(1) == truth)
    gaps = sum(each["n"] * abs(each["accuracy"] - each["confidence"]) for each in bins)
    return {
        "nll": float(-np.log(np.maximum(own, LEAST)).mean()),
        "brier": float(squares.mean()),
        "ece": float(gaps / n),
        "reliability": bins,
    }


def _reliability(confidence: Floats, right: Any) -> list[dict[str, Any]]:
    """Number, mean confidence and accuracy of every bin that holds faces; a bin holds its upper edge."""
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        {
            "from": index / BINS,
            "to": (index + 1) / BINS,
            "n": int(own.sum()),
            "confidence": float(confidence[own].mean()),
            "accuracy": float(right[own].mean()),
        }
        for index in range(BINS)
        if (own := place == index).any()
    ]
