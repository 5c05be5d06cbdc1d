"""Faces to edit, and how far results are apart."""

import torch

from ferkit import Faces, ImageBatch
from ferkit.testing import FACE_BOX, grid


def crowd(count):
    """Portraits of falling brightness in a row, and their faces."""
    picture = grid(1, count)
    for index in range(count):
        cell = picture[:, :, 160 * index : 160 * (index + 1)]
        cell.copy_((cell * (1 - 0.15 * index)).to(torch.uint8))
    shift = torch.tensor([160.0, 0, 160, 0])
    boxes = torch.stack([torch.tensor(FACE_BOX) + shift * index for index in range(count)])
    return ImageBatch((picture,), ("crowd",)), Faces.of([0] * count, boxes)


def worst(first, second):
    """The largest difference of two lists of results in grey levels."""
    return max(int((a.image.int() - b.image.int()).abs().max()) for a, b in zip(first, second, strict=True))
