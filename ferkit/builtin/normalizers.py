"""Control normalizers: what an editor does to a face beside turning it. They keep honest studies honest."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.alignment import cut, face_squares
from ferkit.builtin import Mirror, Resample
from ferkit.geometry import to_five
from ferkit.interfaces import Context
from ferkit.recipe_model import Align
from ferkit.types import Faces, Frontal, ImageBatch


def _crops(batch: ImageBatch, faces: Faces, margin: float) -> list[tuple[Tensor, Tensor | None, Tensor]]:
    """Per face its upright-box crop, uint8 ``[3, s, s]`` at the picture's own scale, its landmarks and its box there."""
    squares = face_squares(faces, Align(method="box", margin=margin))
    points = to_five(faces.landmarks)
    crops = []
    for face, square in enumerate(squares):
        side = max(round(float(torch.linalg.vector_norm(square[:, 0]))), 1)
        pixels = cut(batch.images[int(faces.image_index[face])], square, side)
        known = points is not None and bool(torch.isfinite(points[face]).all())
        landmarks = _into(square, points[face], side) if points is not None and known else None
        border = 0.0 if faces.is_crop[face] else side * margin / (1 + 2 * margin)
        box = torch.tensor([border, border, side - border, side - border])
        crops.append((pixels.mul(255).round().to(torch.uint8), landmarks, box))
    return crops


def _into(square: Tensor, points: Tensor, side: int) -> Tensor:
    """Points ``[5, 2]`` of the picture in the pixels of a crop."""
    unit: Tensor = torch.linalg.solve(square[:, :2], (points.double() - square[:, 2]).T)
    return unit.T.mul(side).float()


class MirrorFace:
    """Mirrors faces left to right: a face turned left becomes one turned right."""

    ORDER = (1, 0, 2, 4, 3)

    def __init__(self, config: Mirror, context: Context) -> None:
        del context
        self.margin = config.margin

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """The mirrored crop of each face, with its landmarks where known."""
        results: list[Frontal | None] = []
        for pixels, points, box in _crops(batch, faces, self.margin):
            mirrored = None
            if points is not None:
                mirrored = torch.stack([pixels.shape[2] - points[:, 0], points[:, 1]], 1)[list(self.ORDER)]
            results.append(Frontal(pixels.flip(2), mirrored, box=box))
        return results


class ResampleFace:
    """Reduces faces to ``size`` pixels and brings them back: an editor's round trip without its turning."""

    def __init__(self, config: Resample, context: Context) -> None:
        del context
        self.size, self.margin = config.size, config.margin

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """The resampled crop of each face, with its landmarks where known."""
        results: list[Frontal | None] = []
        for pixels, points, box in _crops(batch, faces, self.margin):
            shape = pixels.shape[1:]
            small = F.interpolate(pixels[None], size=(self.size, self.size), mode="bilinear", antialias=True)
            back = F.interpolate(small, size=shape, mode="bilinear", antialias=True)[0]
            results.append(Frontal(back, points, box=box))
        return results
