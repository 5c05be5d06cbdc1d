"""Head ``gated``: a mixture of experts, one an encoder and view, weighted by what is known of the pose.

Mixture and gate are those of Jacobs, Jordan, Nowlan and Hinton, "Adaptive Mixtures of Local Experts", Neural Computation
3(1), 1991: experts are trained together with the softmax gate on the likelihood of their mixture. Ours is what the
experts are (a projection an encoder, one classifier for all), and that the gate sees the circumstances, not the face.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ferkit.builtin import Gated as Config
from ferkit.builtin.by_face import ByFace
from ferkit.builtin.learnt import LearntHead
from ferkit.interfaces import Context
from ferkit.types import FRONTAL, Faces, Features

CIRCUMSTANCES, HIDDEN = 6, 16
RIGHT_ANGLE = 90.0


class Gated(LearntHead):
    """Classifies by every encoder and view, and averages the probabilities with weights learnt from the pose.

    The gate sees |yaw| and ``pose_score``, each with whether it is unknown, and whether a view is frontal or stands in
    for a frontal one that failed. A missing view has no weight. At first all weights are equal.
    """

    def __init__(self, config: Config, context: Context) -> None:
        dims = [spec.dim for spec in context.inputs.values()]
        classes = len(context.labels)
        super().__init__(lambda: Experts(dims, config.width, classes, config.dropout), config.weights, context)

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``, which are log-probabilities."""
        pooled = [features.encoders[name].pooled for name in self.names]
        scores, log_probabilities = self.module(pooled, circumstances(features, faces))
        return ByFace(features, len(faces)).mixture(scores, log_probabilities)


class Experts(nn.Module):
    """The experts and their gate."""

    def __init__(self, dims: Sequence[int], width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width), nn.GELU(), nn.Dropout(dropout)) for dim in dims
        )
        last = nn.Linear(HIDDEN, len(dims))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.gate = nn.Sequential(nn.Linear(CIRCUMSTANCES, HIDDEN), nn.GELU(), last)
        self.classifier = nn.Linear(width, classes)

    def forward(self, pooled: Sequence[Tensor], circumstances: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``[M, E]`` and log-probabilities ``[M, E, C]`` from pooled features ``[M, D]`` of each encoder."""
        hidden = torch.stack([expert(rows) for expert, rows in zip(self.experts, pooled, strict=True)], 1)
        return self.gate(circumstances).float(), self.classifier(hidden).float().log_softmax(-1)


def circumstances(features: Features, faces: Faces) -> Tensor:
    """What the gate sees of each view, ``[M, 6]``.

    |yaw| in right angles, 1 where unknown; ``pose_score``, 1 where unknown; 1 for a frontal view; 1 for a failed one.
    Unknown values are 0.
    """
    posed = torch.stack([faces.pose[:, 0].abs() / RIGHT_ANGLE, faces.pose_score], 1)
    of_face = torch.cat([posed.nan_to_num(0.0), posed.isnan().float()], 1).to(features.face_index.device)
    frontal = torch.tensor([view == FRONTAL for view in features.view], device=of_face.device)
    of_view = torch.stack([frontal.to(of_face), features.failed.to(of_face)], 1)
    return torch.cat([of_face[features.face_index], of_view], 1)
