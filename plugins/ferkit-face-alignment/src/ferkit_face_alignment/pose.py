"""Pose estimator ``face-alignment``."""

from pathlib import Path

import numpy as np
import torch
from face_alignment.models import FAN
from face_alignment.utils import CENTER_Y_OFFSET, CROP_RESOLUTION, SCALE_FACTOR, crop, flip
from torch import Tensor

from ferkit import Context, Faces, ImageBatch
from ferkit.head_pose import INNER, pose_from_landmarks
from ferkit_face_alignment import PoseConfig
from ferkit_face_alignment.loading import device_name, reading, version

SMALLEST = 4  # pixels of a box's mean side, below which the library's crop may be empty


class FaceAlignmentPose:
    """68 landmarks by 2D-FAN (Bulat and Tzimiropoulos, ICCV 2017), and the pose of a generic head fitted to them.

    The network sees what the face-alignment package shows it and its heat maps are read as the package does; but landmarks
    are not rounded to whole pixels of the photo. How many hourglasses it
    stacks is told by its weights; the published ones have four. It is never compiled.

    ``pose_score`` is the smaller of two: the mean peak of the heat maps of those landmarks that decide the pose, which the
    network was trained to raise to 1, and how well the generic head explains these landmarks.

    Raises:
        ComponentError: If the library does not know the context's device.
        WeightsError: If the weights are missing, not the pinned ones, or of another network.
    """

    def __init__(self, config: PoseConfig, context: Context) -> None:
        device_name(context.device)
        paths = context.weights.library_files(config.weights)
        self.version = version(config.weights)
        self._config, self._device, self._dtype = config, context.device, context.dtype
        with reading(paths, "2D-FAN"):
            self._network = _load(paths[0]).to(context.device, context.dtype)

    def __call__(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with landmarks of scheme ``"68"``, ``pose`` in degrees and ``pose_score``.

        A face keeps what it had where its box is smaller than 4 pixels or outside its picture.
        """
        landmarks = faces.landmarks.get("68", torch.full((len(faces), 68, 2), torch.nan))[..., :2].clone()
        pose, score = faces.pose.clone(), faces.pose_score.clone()
        visible = torch.nonzero(_visible(batch, faces)).flatten()
        for start in range(0, len(visible), self._config.batch_size):
            chosen = visible[start : start + self._config.batch_size]
            found, peaks = self._landmarks(batch, faces.select(chosen))
            angles, fit = pose_from_landmarks(found, "68")
            landmarks[chosen], pose[chosen] = found, angles.float()
            score[chosen] = peaks[:, INNER].mean(1).minimum(fit.float())
        return faces.with_landmarks(**{"68": landmarks}).with_pose(pose, score)

    def _landmarks(self, batch: ImageBatch, faces: Faces) -> tuple[Tensor, Tensor]:
        """Landmarks ``[N, 68, 2]`` in pixels, and the peaks of their heat maps ``[N, 68]``, 0..1."""
        centres, sides = _squares(faces, self._config.scale)
        crops = [
            crop(batch.images[index].permute(1, 2, 0).numpy(), centre, side / SCALE_FACTOR)
            for index, centre, side in zip(faces.image_index.tolist(), centres.tolist(), sides.tolist(), strict=True)
        ]
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(self._device).float().div(255)
        heat = self._heat(pixels.to(self._dtype))
        points, peaks = _peaks(heat)
        return centres[:, None] + (points - 0.5) * sides[:, None, None], peaks.clamp(0, 1)

    def _heat(self, pixels: Tensor) -> Tensor:
        """Heat maps ``[N, 68, 64, 64]``, float32 on the CPU, of faces ``[N, 3, 256, 256]``."""
        assert pixels.shape[-1] == CROP_RESOLUTION
        heat: Tensor = self._network(pixels)[-1]
        if self._config.flip:
            heat = (heat + flip(self._network(flip(pixels))[-1], is_label=True)) / 2
        return heat.float().cpu()


def _visible(batch: ImageBatch, faces: Faces) -> Tensor:
    """Which boxes share at least a pixel with their picture and are large enough, bool ``[N]``."""
    sizes = [batch.images[index].shape[:0:-1] for index in faces.image_index.tolist()]
    limit = torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2)
    start, end = faces.boxes[:, :2], faces.boxes[:, 2:]
    shared = end.minimum(limit) - start.clamp(min=0)
    return (shared >= 1).all(1) & ((end - start).mean(1) >= SMALLEST)


def _squares(faces: Faces, scale: float) -> tuple[Tensor, Tensor]:
    """Centres ``[N, 2]`` and sides ``[N]`` in pixels of the squares that the network sees."""
    size = faces.boxes[:, 2:] - faces.boxes[:, :2]
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    centres = centres - torch.stack([torch.zeros(len(faces)), CENTER_Y_OFFSET * size[:, 1]], 1)
    return centres, scale * size.mean(1)


def _peaks(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Where heat maps ``[N, 68, H, W]`` peak, x and y as shares of their sides ``[N, 68, 2]``, and how high ``[N, 68]``.

    As the library has it: the middle of the highest cell, a quarter of a cell towards the higher neighbour. Its own function
    is compiled by numba in every process anew, for many seconds, and rounds to pixels of the photo.
    """
    height, width = heat.shape[-2:]
    cells = heat.flatten(2)
    highest, index = cells.max(-1)
    place = torch.stack((index % width, index // width), -1)

    def rise(step: int) -> Tensor:
        after, before = (index + step).clamp(max=cells.shape[-1] - 1), (index - step).clamp(min=0)
        return (cells.gather(-1, after[..., None]) - cells.gather(-1, before[..., None])).sign()

    last = torch.tensor([width - 1, height - 1])
    inside = ((place > 0) & (place < last)).all(-1, keepdim=True)
    towards = torch.where(inside, 0.25 * torch.cat((rise(1), rise(width)), -1), 0.0)
    return (place + 0.5 + towards) / (last + 1), highest


def _load(path: Path) -> FAN:
    state = torch.load(path, map_location="cpu", weights_only=True)
    stacked = sum(name.startswith("l") and name.endswith(".weight") for name in state)
    network = FAN(stacked)
    network.load_state_dict(state)
    network.requires_grad_(False)
    network.eval()
    return network
