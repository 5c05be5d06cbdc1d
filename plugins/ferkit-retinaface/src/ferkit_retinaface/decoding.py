"""From what the network says of each anchor to faces, as in biubug6/Pytorch_Retinaface, in numpy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride to the sides of its square anchors, in pixels
VARIANCES = (0.1, 0.2)  # scales of the offsets and of the logarithms of sizes
CANDIDATES = 5000  # that suppression considers, as in the reference


class Found(NamedTuple):
    """Faces of one photo, best first: boxes ``[n, 4]``, scores ``[n]``, landmarks ``[n, 5, 2]`` in the canvas."""

    boxes: Array
    scores: Array
    landmarks: Array


def decode(
    offsets: Array, scores: Array, points: Array, canvas: tuple[int, int], *, min_score: float, nms: float
) -> Found:
    """The faces among the A anchors of one photo.

    Args:
        offsets: ``[A, 4]``, of centre and log size, in units of the anchor and the variances.
        scores: ``[A]``, 0..1.
        points: ``[A, 10]``, x and y of five landmarks, as offsets of the anchor's centre.
        canvas: Height and width that the network saw, in pixels; multiples of the largest stride.
        min_score: Score from which an anchor has a face.
        nms: Intersection over union above which the less certain of two boxes is dropped.
    """
    index = np.flatnonzero(scores >= min_score)
    index = index[np.argsort(-scores[index], kind="stable")[:CANDIDATES]]
    centres, sides = anchors(index, canvas)
    middle = centres + offsets[index, :2] * VARIANCES[0] * sides
    half = sides * np.exp(offsets[index, 2:] * VARIANCES[1]) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    landmarks = centres[:, None] + points[index].reshape(-1, 5, 2) * VARIANCES[0] * sides[:, None]
    kept = suppress(boxes, nms)
    return Found(boxes[kept], scores[index[kept]], landmarks[kept])


def anchors(index: NDArray[np.intp], canvas: tuple[int, int]) -> tuple[Array, Array]:
    """Centres ``[n, 2]`` and sides ``[n, 1]`` in pixels of the anchors at ``index`` in the network's output.

    Anchors go by stride, row, column and side.
    """
    height, width = canvas
    centres = np.empty((len(index), 2), np.float32)
    sides = np.empty((len(index), 1), np.float32)
    first = 0
    for stride, choices in ANCHORS.items():
        columns = width // stride
        end = first + height // stride * columns * len(choices)
        here = (index >= first) & (index < end)
        cell, choice = np.divmod(index[here] - first, len(choices))
        row, column = np.divmod(cell, columns)
        centres[here] = (np.stack([column, row], axis=1) + 0.5) * stride
        sides[here, 0] = np.take(choices, choice)
        first = end
    return centres, sides


def suppress(boxes: Array, threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``[n, 4]``, x0 y0 x1 y1, best first.
        threshold: Intersection over union above which the later of two boxes is dropped.

    Returns:
        Indices of the boxes that stay, best first.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = []
    rest = np.arange(len(boxes))
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        overlap = np.minimum(boxes[rest, 2:], boxes[best, 2:]) - np.maximum(boxes[rest, :2], boxes[best, :2])
        shared = overlap.clip(min=0).prod(axis=1)
        rest = rest[shared <= threshold * (areas[rest] + areas[best] - shared)]
    return np.array(kept, np.intp)
