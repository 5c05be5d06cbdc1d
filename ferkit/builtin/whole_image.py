"""Detector ``whole-image``: for pictures that are face crops already."""

import torch

from ferkit.components import Config
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch


class WholeImage:
    """Takes every picture as one face, whatever it shows."""

    def __init__(self, config: Config, context: Context) -> None:
        del config, context

    def __call__(self, batch: ImageBatch) -> Faces:
        """One face a picture: its whole extent, score NaN."""
        boxes = [[0.0, 0.0, image.shape[2], image.shape[1]] for image in batch.images]
        return Faces.of(range(len(batch)), torch.tensor(boxes).reshape(-1, 4), is_crop=True)
