"""Detector ``face-alignment``."""

from pathlib import Path

import numpy as np
import torch
from face_alignment.detection.blazeface import FaceDetector as BlazeFaceDetector
from face_alignment.detection.core import FaceDetector
from face_alignment.detection.sfd import FaceDetector as SfdDetector
from torch import Tensor
from torch.nn import functional as F

from ferkit import Context, Faces, ImageBatch
from ferkit_face_alignment import DetectorConfig
from ferkit_face_alignment.loading import device_name, reading, version

SMALLEST = 32  # S3FD halves a photo five times
BLAZEFACE_SIDE = {"blazeface": 128, "blazeface-back": 256}


class FaceAlignmentDetector:
    """S3FD (Zhang et al., ICCV 2017) or BlazeFace (Bazarevsky et al., 2019) as the face-alignment package runs them.

    A photo is padded at its right and lower side: for S3FD to 32 pixels, for BlazeFace, which the library shows only the
    central square of a photo, to a square. The networks compute in float32 whatever the context's dtype, one photo at a
    time.

    Raises:
        ComponentError: If the library does not know the context's device.
        WeightsError: If weights are missing, naming each; if they are not the pinned ones, or of another network.
    """

    def __init__(self, config: DetectorConfig, context: Context) -> None:
        device = device_name(context.device)
        paths = context.weights.library_files(config.weights)
        self.version = version(config.weights)
        self._config = config
        with reading(paths, config.backend):
            self._detector = _load(config, paths, device)

    def __call__(self, batch: ImageBatch) -> Faces:
        """The faces of ``batch``, boxes clipped to their picture."""
        found = [self._search(image, index) for index, image in enumerate(batch.images)]
        return Faces.concat(found).in_order()

    def _search(self, image: Tensor, index: int) -> Faces:
        canvas, factor = self._canvas(image)
        found = self._detector.detect_from_image(canvas.permute(1, 2, 0).contiguous().numpy())
        rows = torch.from_numpy(np.asarray(found, dtype=np.float32).reshape(-1, 5))
        height, width = image.shape[1:]
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = (rows[:, :4] * factor.repeat(2)).clamp(min=0).minimum(limit)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return Faces.of([index] * int(inside.sum()), boxes[inside], scores=rows[inside, 4])

    def _canvas(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The picture as the network is to see it, and how many pixels of it one of these is across and down."""
        height, width = image.shape[1:]
        fixed = BLAZEFACE_SIDE.get(self._config.backend)
        scale = (fixed or min(self._config.size, max(height, width))) / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if size != (height, width):
            image = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        least = fixed or SMALLEST
        canvas = F.pad(image, (0, max(0, least - size[1]), 0, max(0, least - size[0])))
        return canvas, torch.tensor([width / size[1], height / size[0]])


def _load(config: DetectorConfig, paths: list[Path], device: str) -> FaceDetector:
    """The library reads both kinds of file without running code: ``weights_only``, and no objects in an array."""
    weights = str(paths[0])
    if config.backend == "sfd":
        return SfdDetector(device, path_to_detector=weights, filter_threshold=config.min_score)
    return BlazeFaceDetector(
        device,
        back_model=config.backend == "blazeface-back",
        path_to_detector=weights,
        path_to_anchor=str(paths[1]),
        min_score_thresh=config.min_score,
    )
