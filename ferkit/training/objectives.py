"""What is minimized.

Every objective is a mean over faces, so that parts of a batch average to the whole; but for ``contrastive``, which tells a
face from the others of its part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.training.options import Training
from ferkit.types import Features


@dataclass(frozen=True, eq=False)
class BatchTargets:
    """What N faces should come out as.

    Attributes:
        shares: float32 ``[N, C]``, rows sum to one.
        teacher: float32 ``[N, C]``, the teacher's log-probabilities, NaN for a face that it did not find; or None.
        captions: Per face its text, or None.
    """

    shares: Tensor
    teacher: Tensor | None = None
    captions: tuple[str | None, ...] | None = None

    def to(self, device: torch.device) -> "BatchTargets":
        """The same on another device."""
        teacher = self.teacher.to(device) if self.teacher is not None else None
        return BatchTargets(self.shares.to(device), teacher, self.captions)


class Objective:
    """The weighted sum that ``training.objectives`` asks for.

    Args:
        training: Weights and options.
        class_weights: float32 ``[C]``, mean one over the training faces.
    """

    def __init__(self, training: Training, class_weights: Tensor) -> None:
        self.training, self.class_weights = training, class_weights

    def __call__(
        self,
        logits: Tensor,
        features: Features,
        targets: BatchTargets,
        scales: Mapping[str, Tensor],
        captions: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Each objective unweighted, and ``loss``.

        Args:
            logits: ``[N, C]``.
            features: Those behind the logits.
            targets: What was meant.
            scales: By encoder with text that learns: the inverse of its temperature.
            captions: By encoder: texts of the faces' captions ``[N, D]``, rows of those without one NaN.
        """
        weights = self.training.objectives
        terms: dict[str, Tensor] = {}
        if weights.cross_entropy:
            terms["cross_entropy"] = self._cross_entropy(logits, targets.shares).mean()
        if weights.image_text and scales:
            losses = [self._image_text(features, name, scale, targets.shares) for name, scale in scales.items()]
            terms["image_text"] = torch.stack(losses).mean()
        if weights.contrastive and scales:
            terms["contrastive"] = contrastive(features, captions, targets.captions or (), scales)
        if weights.distillation and targets.teacher is not None:
            terms["distillation"] = distillation(logits, targets.teacher, self.training.temperature)
        terms["loss"] = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
        return terms

    def _image_text(self, features: Features, name: str, scale: Tensor, shares: Tensor) -> Tensor:
        """Cross-entropy against an encoder's class texts: the mean over a face's views, then over faces."""
        each = features.encoders[name]
        assert each.text is not None
        losses = self._cross_entropy(scale * _cosines(each.pooled, each.text), shares[features.face_index])
        return features.mean_over_views(losses, len(shares)).mean()

    def _cross_entropy(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Of each row of ``[M, C]``: ``[M]``."""
        smoothing = self.training.label_smoothing
        target = shares * (1 - smoothing) + smoothing / shares.shape[1]
        weight = (shares * self.class_weights).sum(1)
        return -weight * (target * logits.log_softmax(1)).sum(1)


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence from the teacher's softened probabilities, times the temperature squared (Hinton et al. 2015).

    A row that is NaN counts as none, in a mean over all.
    """
    told = ~teacher.isnan().any(1)
    student = (logits[told] / temperature).log_softmax(1)
    wanted = (teacher[told] / temperature).log_softmax(1)
    return F.kl_div(student, wanted, reduction="sum", log_target=True) * temperature**2 / len(logits)


def contrastive(
    features: Features, texts: Mapping[str, Tensor], captions: Sequence[str | None], scales: Mapping[str, Tensor]
) -> Tensor:
    """Symmetric cross-entropy between views and captions of a batch (Radford et al. 2021).

    Views of one face, and faces with equal captions, are no negatives of each other: all of them are the target, in equal
    shares (Yang et al., "Unified Contrastive Learning in Image-Text-Label Space", CVPR 2022, equations 2 and 3). It is
    zero where there are not two different captions.

    Args:
        features: Those of the views.
        texts: By encoder: texts of the faces' captions ``[N, D]``, rows of those without one NaN.
        captions: The captions of the N faces.
        scales: By encoder: the inverse of its temperature.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(filter(None, captions)))}
    losses = []
    if len(numbers) > 1:
        own = torch.tensor([numbers[text] if text else -1 for text in captions], device=features.face_index.device)
        of_view = own[features.face_index]
        kept = of_view >= 0
        same = (of_view[kept, None] == of_view[None, kept]).float()
        target = same / same.sum(1, keepdim=True)
        for name, rows in texts.items():
            similar = scales[name] * _cosines(features.encoders[name].pooled[kept], rows[features.face_index][kept])
            losses.append((F.cross_entropy(similar, target) + F.cross_entropy(similar.T, target)) / 2)
    return torch.stack(losses).mean() if losses else torch.stack([*scales.values()]).sum() * 0  # which has a gradient


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T


def balanced_weights(shares: Tensor) -> Tensor:
    """Per class the inverse of its frequency among ``shares`` ``[N, C]``, scaled to a mean of one over the faces."""
    counts = shares.sum(0)
    return len(shares) / (len(counts) * counts)
