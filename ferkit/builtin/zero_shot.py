"""Head ``zero-shot``: likeness of a face to the texts of the classes (CLIP: Radford et al. 2021, section 3.1)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit.builtin import ZeroShot as Config
from ferkit.builtin.by_face import ByFace, class_text
from ferkit.builtin.learnt import LearntHead
from ferkit.errors import StageError
from ferkit.interfaces import Context
from ferkit.types import Faces, Features


class ZeroShot(LearntHead):
    """Softmax of cosine similarities over a temperature, for every encoder that has text.

    The temperature is the recipe's, or the encoder's own, 1 / ``logit_scale``. What it can learn is a factor on it for
    each encoder. Probabilities are averaged over encoders and views (the sum rule of Kittler et al. 1998, our choice):
    logits of encoders with unlike temperatures are on unlike scales.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self.readers = tuple(name for name, spec in context.inputs.items() if spec.text)
        self.temperature = config.temperature
        super().__init__(lambda: Sharpness(len(self.readers)), config.weights, context, untrained=True)

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``, which are log-probabilities."""
        cosines = [
            F.normalize(features.encoders[name].pooled, dim=-1) @ class_text(features, name).T for name in self.readers
        ]
        scales = torch.tensor([self._scale(features, name) for name in self.readers], device=cosines[0].device)
        logits: Tensor = self.module(torch.stack(cosines, 1) * scales[:, None])
        log_probabilities = logits.float().log_softmax(-1)
        equal = torch.zeros_like(log_probabilities[..., 0])
        return ByFace(features, len(faces)).mixture(equal, log_probabilities)

    def stages(self) -> list[list[nn.Parameter]]:
        """One group: the temperatures."""
        return [list(self.module.parameters())]

    def _scale(self, features: Features, name: str) -> float:
        scale = 1 / self.temperature if self.temperature else features.encoders[name].logit_scale
        if scale is None or not math.isfinite(scale):
            raise StageError(f"encoder {name!r} gives logit_scale {scale}: set head.temperature=0.01, or what fits it")
        return scale


class Sharpness(nn.Module):
    """A positive factor for the logits of each encoder, one at first."""

    def __init__(self, encoders: int) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(encoders))

    def forward(self, logits: Tensor) -> Tensor:
        """``logits`` ``[M, E, C]``, scaled."""
        return logits * self.log_factor.exp()[:, None]
