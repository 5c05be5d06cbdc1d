"""Faces that the tests share."""

from pathlib import Path

import numpy as np
import torch

from ferkit import Context
from ferkit.geometry import angles_to_rotation
from ferkit.weights import WeightsStore
from ferkit_mesh.turning import Camera, turn

IMAGES = Path(__file__).parents[3] / "examples" / "images"
FACE = (170.0, 55.0, 280.0, 185.0)  # the astronaut's, by eye


def context(dtype=torch.float32):
    return Context(torch.device("cpu"), dtype, 0, ("neutral",), WeightsStore())


def turned(estimate, head, image, yaw, pitch=0.0):
    """The astronaut seen from elsewhere, 160 px wide, and the box of the face."""
    points = estimate(image, FACE).landmarks["mesh"][0].numpy()
    rotation = angles_to_rotation(torch.tensor([yaw, pitch, 0.0])).numpy()
    camera = Camera(rotation, 1.0, np.array([80 + yaw / 4, 70], np.float32))
    seen = turn(image.permute(1, 2, 0).contiguous().numpy(), points, head, camera, 160)
    box = (*seen.points[:, :2].min(0), *seen.points[:, :2].max(0))
    return torch.from_numpy(seen.picture).permute(2, 0, 1).contiguous(), tuple(float(v) for v in box), seen.points
