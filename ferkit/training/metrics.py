"""Figures that an epoch is judged by."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch import Tensor


def figures(probabilities: Tensor, truth: Tensor, labels: Sequence[str], missed: int) -> dict[str, float]:
    """Accuracy, UAR, macro-F1 and mean negative log-likelihood of N faces.

    Args:
        probabilities: ``[N, C]``.
        truth: int64 ``[N]``.
        labels: The C names.
        missed: Samples beside these whose face was not found: wrong in accuracy and recall.
    """
    guessed = probabilities.argmax(1).numpy()
    true = truth.numpy()
    likelihood = probabilities.gather(1, truth[:, None]).clamp_min(1e-12).log()
    every = np.arange(len(labels))
    present = np.unique(true)
    return {
        "n": len(true) + missed,
        "missed": missed,
        "accuracy": float(accuracy_score(true, guessed, normalize=False) / max(len(true) + missed, 1)),
        "uar": float(recall_score(true, guessed, labels=present, average="macro", zero_division=0)),
        "macro_f1": float(f1_score(true, guessed, labels=every, average="macro", zero_division=0)),
        "loss": float(-likelihood.mean()),
    }


def truth_of(shares: Tensor) -> Tensor:
    """The class with the largest share, int64 ``[N]``."""
    return torch.argmax(shares, 1)


def by_class(probabilities: Tensor, truth: Tensor, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Recall and number of faces by label; labels without a face are left out."""
    guessed = probabilities.argmax(1)
    found = {}
    for column, label in enumerate(labels):
        own = truth == column
        if bool(own.any()):
            found[label] = {"n": int(own.sum()), "recall": float((guessed[own] == column).double().mean())}
    return found
