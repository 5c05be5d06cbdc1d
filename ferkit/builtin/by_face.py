"""Views by face: a batch's ragged views as a table with a mask, and mixtures over them."""

import torch
from torch import Tensor

from ferkit.errors import StageError
from ferkit.types import Features


class ByFace:
    """Arranges values of M views by the N faces they belong to, at most V views a face.

    Attributes:
        there: bool ``[N, V]``: where a view is.
    """

    def __init__(self, features: Features, n_faces: int) -> None:
        owners = features.face_index
        count = torch.bincount(owners, minlength=n_faces)
        order = torch.argsort(owners, stable=True)
        first = count.cumsum(0) - count
        place = torch.arange(len(owners), device=owners.device) - first[owners[order]]
        most = max(int(count.max()) if n_faces else 0, 1)
        self._table = torch.full((n_faces, most), len(owners), device=owners.device)
        self._table[owners[order], place] = order
        self.there = self._table < len(owners)

    def __call__(self, values: Tensor) -> Tensor:
        """``values`` ``[M, …]`` as ``[N, V, …]``, zero where no view is."""
        return torch.cat([values, values.new_zeros(1, *values.shape[1:])])[self._table]

    def mixture(self, scores: Tensor, log_probabilities: Tensor) -> Tensor:
        """The log of class probabilities, averaged over a face's views and encoders with weights softmax(``scores``).

        Computed in logarithms, so that no probability is too small to learn from.

        Args:
            scores: ``[M, E]``.
            log_probabilities: ``[M, E, C]``.

        Returns:
            ``[N, C]``; NaN for a face without a view.
        """
        masked = self(scores).masked_fill(~self.there[..., None], -torch.inf)
        weights = masked.flatten(1).log_softmax(1).view_as(masked)
        return (weights[..., None] + self(log_probabilities)).logsumexp((1, 2))


def class_text(features: Features, name: str) -> Tensor:
    """Class texts ``[C, D]`` of the encoder ``name``.

    Raises:
        StageError: If the features come without.
    """
    text = features.encoders[name].text
    if text is None:
        raise StageError(
            f"the features of encoder {name!r} come without class texts: encode them with the recipe's own"
        )
    return text
