"""Head ``average-probabilities``: late fusion of encoders that are classifiers (the sum rule of Kittler et al. 1998)."""

import torch
from torch import Tensor

from ferkit.components import Config
from ferkit.interfaces import Context
from ferkit.types import Faces, Features


class AverageProbabilities:
    """Averages class probabilities over every encoder that has logits, and over the views of a face."""

    def __init__(self, config: Config, context: Context) -> None:
        del config, context

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]`` whose softmax is the mean of the encoders' probabilities."""
        each = [output.logits.softmax(-1) for output in features.encoders.values() if output.logits is not None]
        mean = torch.stack(each).mean(0)
        return features.mean_over_views(mean, len(faces)).clamp_min(torch.finfo(mean.dtype).tiny).log()
