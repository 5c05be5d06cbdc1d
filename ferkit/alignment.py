"""Cut faces out as upright squares."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.geometry import FACE_TEMPLATE, similarity, to_five
from ferkit.recipe_model import Align
from ferkit.types import Faces

_BANDS = 8  # of rows: grid_sample spreads over the cores along the batch alone


def face_squares(faces: Faces, align: Align) -> Tensor:
    """For every face the map from the unit square of its view to its picture, float64 ``[N, 2, 3]``.

    Landmarks are fitted to :data:`ferkit.geometry.FACE_TEMPLATE`, so that both methods frame a frontal face alike. A crop
    is taken as it is: no landmarks, no roll, no margin.
    """
    squares = _from_boxes(faces)
    if align.method == "landmarks":
        fitted, trusted = _from_landmarks(faces, align.max_yaw)
        squares[trusted] = fitted[trusted]
    margin = torch.where(faces.is_crop, 0.0, align.margin).to(squares)
    return _grow(squares, margin)


def _from_boxes(faces: Faces) -> Tensor:
    """The squared box, turned by the roll where that is known."""
    boxes = faces.boxes.double()
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    roll = torch.deg2rad(torch.nan_to_num(faces.pose[:, 2].double()))
    roll = torch.where(faces.is_crop, 0.0, roll)
    cos, sin = torch.cos(roll) * side, torch.sin(roll) * side
    linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([linear, (centre - linear.sum(2) / 2).unsqueeze(2)], 2)


def _from_landmarks(faces: Faces, max_yaw: float) -> tuple[Tensor, Tensor]:
    """Squares fitted to landmarks ``[N, 2, 3]``, and for which faces they can be trusted ``[N]``."""
    points = to_five(faces.landmarks)
    if points is None:
        points = torch.full((len(faces), 5, 2), torch.nan)
    template = FACE_TEMPLATE.double().expand(len(faces), 5, 2)
    fitted = similarity(template, points.double())
    side = torch.linalg.vector_norm(fitted[:, :, 0], dim=1)
    turned = torch.nan_to_num(faces.pose[:, 0].abs()) > max_yaw
    return fitted, torch.isfinite(fitted).all(2).all(1) & (side >= 1) & ~turned & ~faces.is_crop


def _grow(squares: Tensor, margin: Tensor) -> Tensor:
    """Squares larger by ``margin`` ``[N]`` on every side, about the same centre."""
    linear, shift = squares[:, :, :2], squares[:, :, 2]
    centre = shift + linear.sum(2) / 2
    linear = linear * (1 + 2 * margin).reshape(-1, 1, 1)
    return torch.cat([linear, (centre - linear.sum(2) / 2).unsqueeze(2)], 2)


def cut(image: Tensor, square: Tensor, size: int) -> Tensor:
    """One square of a picture, resampled without aliasing; beyond the border its edge is repeated.

    Args:
        image: uint8 ``[3, H, W]``.
        square: Map from the unit square to the picture ``[2, 3]``.
        size: Side of the result in pixels.

    Returns:
        float32 ``[3, size, size]``, 0..1.
    """
    corners = square[:, :2] @ torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]], dtype=square.dtype) + square[:, 2:]
    height, width = image.shape[1:]
    limits = torch.tensor([width, height])
    low = torch.minimum(corners.amin(1).floor().long().clamp(min=0) - 2, limits - 1).clamp(min=0)
    high = torch.maximum(torch.minimum(corners.amax(1).ceil().long() + 2, limits), low + 1)
    pixels = image[:, low[1] : high[1], low[0] : high[0]].float().div(255).unsqueeze(0)
    shift = square[:, 2] - low
    # shrink first, so that the warp samples about one pixel a pixel
    scale = float(torch.linalg.vector_norm(square[:, 0])) / size
    extent = torch.tensor([pixels.shape[3], pixels.shape[2]])
    linear = square[:, :2]
    if scale > 1:
        small = torch.clamp((extent / scale).round().long(), min=1)
        pixels = F.interpolate(pixels, size=(int(small[1]), int(small[0])), mode="bilinear", antialias=True)
        linear, shift, extent = linear * (small / extent).unsqueeze(1), shift * (small / extent), small
    theta = torch.cat([linear, (2 * shift + linear.sum(1) - extent).unsqueeze(1)], 1) / extent.unsqueeze(1)
    grid = F.affine_grid(theta.float().unsqueeze(0), [1, 3, size, size], align_corners=False)
    bands = math.gcd(size, _BANDS)
    view = F.grid_sample(
        pixels.expand(bands, -1, -1, -1),
        grid.reshape(bands, size // bands, size, 2),
        mode="bicubic" if scale < 1 else "bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return view.transpose(0, 1).reshape(3, size, size).clamp(0, 1)


def align_faces(images: tuple[Tensor, ...], faces: Faces, align: Align) -> Tensor:
    """The aligned view of every face, float32 ``[N, 3, S, S]``, RGB 0..1."""
    squares = face_squares(faces, align)
    views = [
        cut(images[index], square, align.size)
        for index, square in zip(faces.image_index.tolist(), squares.unbind(), strict=True)
    ]
    return torch.stack(views) if views else torch.zeros(0, 3, align.size, align.size)
