"""Figures that an epoch is judged by."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch import Tensor


def figures(probabilities: Tensor, truth: Tensor, missed: Tensor) -> dict[str, float]:
    """Accuracy, UAR (mean recall of the classes there are), macro-F1 over the same, and mean negative log-likelihood.

    Args:
        probabilities: ``[N, C]``.
        truth: int64 ``[N]``.
        missed: int64 ``[C]``: per class the samples beside these whose face was not found. They are wrong in everything
            but the likelihood, which is of the N faces.
    """
    nothing = len(missed)  # what a face that was not found comes out as
    true = np.concatenate([truth.numpy(), np.repeat(np.arange(nothing), missed.numpy())])
    guessed = np.concatenate([probabilities.argmax(1).numpy(), np.full(int(missed.sum()), nothing)])
    likelihood = probabilities.gather(1, truth[:, None]).clamp_min(1e-12).log()
    present = np.unique(true)
    return {
        "n": len(true),
        "missed": int(missed.sum()),
        "accuracy": float(accuracy_score(true, guessed)),
        "uar": float(recall_score(true, guessed, labels=present, average="macro", zero_division=0)),
        "macro_f1": float(f1_score(true, guessed, labels=present, average="macro", zero_division=0)),
        "loss": float(-likelihood.mean()),
    }


def truth_of(shares: Tensor) -> Tensor:
    """The class with the largest share, int64 ``[N]``."""
    return torch.argmax(shares, 1)


def by_class(
    probabilities: Tensor, truth: Tensor, missed: Tensor, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Recall and number of samples by label, those without a face found among them; labels without one are left out."""
    guessed = probabilities.argmax(1)
    found = {}
    for column, label in enumerate(labels):
        own = truth == column
        n = int(own.sum() + missed[column])
        if n:
            found[label] = {"n": n, "recall": int((guessed[own] == column).sum()) / n}
    return found
