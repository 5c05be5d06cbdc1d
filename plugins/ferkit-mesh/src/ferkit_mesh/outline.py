"""Where a real face ends: seldom exactly where its mesh does, and what lies behind it must not be drawn on its nose."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.spatial import KDTree

from ferkit_mesh.render import Bytes, Floats, smoothstep

# All in units of the head.
# Where along a ray what is behind the face is taken to be seen; and the face, counted from MOST.
OUTSIDE, DEEP = (-0.2, -0.06), (0.14, 0.28)
MOST = (0.2, 0.32)  # how far inside its mesh a face may end: in profile, half turned
STEP = 0.02  # between samples of a ray
REACH = 0.3  # points further inside than MOST and this stay where they are
SMOOTH = 0.5  # of the outline, over which the end of the face is the median, then the mean
LIKE = 0.3  # how much like the inner end of its ray a pixel of the face is, 0 being like the outer end
CONTRAST = 18.0  # grey values between face and background, below which nothing would be seen of either
FAR = (0.4, 0.8)  # cosine between an outline's normal and where the face looks: another side below, the far one above


def inward(source: Bytes, head: NDArray[np.bool_], points: Floats, scale: float, looks: Floats, half: float) -> Floats:
    """How far points must be moved so that those at a mesh's far outline lie where the face in the picture ends.

    On a ray from outside the outline to its inside a pixel belongs to the face once it is no longer like the ray's outer end.

    Args:
        source: The picture, uint8 ``[H, W, 3]``.
        head: Where the mesh is seen in it, ``[H / 2, W / 2]``.
        points: ``[P, 2]`` in pixels of the picture.
        scale: Pixels a unit of the head.
        looks: Where the face looks ``[2]``, in the picture; the longer, the further it is turned, at most 1.
        half: 1 of a face half turned, 0 in profile.

    Returns:
        Offsets ``[P, 2]`` in pixels, 0 for points far within.
    """
    outlines, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines or min(head.shape) < 3:
        return np.zeros_like(points)
    outline = 2 * max(outlines, key=len)[:, 0].astype(np.float32) + 1  # the middle of each 2 x 2 pixels
    normals = _normals(head, outline)
    most = MOST[0] + (MOST[1] - MOST[0]) * half
    steps = STEP * np.arange(round(OUTSIDE[0] / STEP), round((most + DEEP[1]) / STEP), dtype=np.float32)
    ends = _ends(_rays(source, outline, normals, steps * scale), steps, most)
    ends *= smoothstep(-normals @ looks, *FAR)
    width = max(round(SMOOTH * scale / 2), 1)
    ends = uniform_filter1d(median_filter(ends, width, mode="wrap"), width, mode="wrap")
    distance, nearest = KDTree(outline).query(points)
    share = 1 - distance / ((most + REACH) * scale)
    moved: Floats = (ends[nearest] * share.clip(0, 1) * scale)[:, None] * normals[nearest]
    return moved.astype(np.float32)


def _normals(head: NDArray[np.bool_], outline: Floats) -> Floats:
    """Of the outline ``[L, 2]``, pointing inside."""
    mask = head.astype(np.float32)
    width = max(min(head.shape) / 24, 1.0)
    smooth = cv2.GaussianBlur(mask, (0, 0), width)
    columns, rows = (outline // 2).astype(int).T
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *order)[rows, columns] for order in ((1, 0), (0, 1))]
    normals = np.stack(slopes, 1)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6), np.float32)


def _rays(source: Bytes, outline: Floats, normals: Floats, steps: Floats) -> Floats:
    """Colours ``[L, S, 3]`` along each normal."""
    places = outline[:, None] + steps[:, None] * normals[:, None] - np.float32(0.5)
    soft = cv2.blur(source, (3, 3))
    colours = cv2.remap(soft, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colours, np.float32)


def _ends(colours: Floats, steps: Floats, most: float) -> Floats:
    """How far inside the outline the face begins on each ray ``[L]``, 0 where that cannot be told."""
    outside = colours[:, steps < OUTSIDE[1] - STEP / 2].mean(1)
    across = colours[:, steps > most + DEEP[0] - STEP / 2].mean(1) - outside
    contrast = np.linalg.norm(across, axis=1)
    likeness = ((colours - outside[:, None]) * across[:, None]).sum(2) / np.maximum(contrast, 1e-6)[:, None] ** 2
    within = (steps > -STEP / 2) & (steps < most + STEP / 2)
    face = likeness[:, within] > LIKE
    found = face.any(1) & (contrast > CONTRAST * np.sqrt(3))
    return np.where(found, steps[within][face.argmax(1)], 0).astype(np.float32)
