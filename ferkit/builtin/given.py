"""Detector ``given``: the faces a data set is annotated with."""

from dataclasses import replace

import torch

from ferkit.components import Config
from ferkit.errors import FerkitError
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch


class Given:
    """Passes on ``ImageBatch.given``."""

    def __init__(self, config: Config, context: Context) -> None:
        del config, context

    def __call__(self, batch: ImageBatch) -> Faces:
        """The given faces of all pictures.

        Raises:
            FerkitError: If the pictures come without annotations.
        """
        if batch.given is None:
            raise FerkitError(
                "the detector 'given' uses a data set's own boxes, and these pictures come without: choose a detector that "
                "looks, such as detector.use=retinaface"
            )
        parts = [
            replace(faces, image_index=torch.full_like(faces.image_index, index))
            for index, faces in enumerate(batch.given)
        ]
        return Faces.concat(parts)
