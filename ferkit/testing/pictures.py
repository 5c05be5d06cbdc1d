"""Pictures to test with: one real face, and scenes made of it.

``face.jpg`` is the head of the astronaut Eileen Collins, cut from NASA's portrait of her, which is in the public domain
(https://flic.kr/p/r9qvLn): ``skimage.data.astronaut()[36:196, 144:304]`` as JPEG of quality 90.
"""

from functools import cache
from importlib import resources

import torch
from PIL import Image
from torch import Tensor

FACE_BOX = (35.0, 23.0, 130.0, 140.0)
"""Box of the face in :func:`face_picture`: x0 y0 x1 y1 in pixels, forehead to chin."""

FACE_LANDMARKS = ((61.6, 62.5), (105.0, 66.4), (80.4, 92.2), (58.5, 101.8), (100.2, 105.2))
"""Its eyes, tip of the nose and corners of the mouth, image-left first: x y in pixels, by RetinaFace, checked by eye."""


@cache
def _face() -> Tensor:
    import numpy as np

    with resources.files("ferkit.testing").joinpath("face.jpg").open("rb") as file:
        return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).contiguous()


def face_picture() -> Tensor:
    """A photo of one face, uint8 RGB ``[3, 160, 160]``; a fresh copy each time."""
    return _face().clone()


def grid(rows: int, columns: int) -> Tensor:
    """``rows`` by ``columns`` copies of :func:`face_picture` in one picture."""
    return face_picture().repeat(1, rows, columns)


def panorama() -> Tensor:
    """A grey picture ten times as wide as high, uint8 ``[3, 160, 1600]``, with one face at its right end."""
    picture = torch.full((3, 160, 1600), 128, dtype=torch.uint8)
    picture[:, :, -160:] = face_picture()
    return picture


def empty_pictures() -> list[Tensor]:
    """Pictures without a face: plain grey, noise, and a single pixel."""
    noise = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [torch.full((3, 120, 90), 128, dtype=torch.uint8), noise, torch.full((3, 1, 1), 200, dtype=torch.uint8)]
