"""A face of known landmarks seen from another side: the picture is the texture of its own mesh."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ferkit_mesh.head import POINTS, RINGS, Head
from ferkit_mesh.render import rasterize

Floats = NDArray[np.float32]


class Turned(NamedTuple):
    """A face turned.

    Attributes:
        picture: As the source, ``[height, width]`` or ``[height, width, 3]``; black where the head is not.
        covered: bool ``[height, width]``: where it is.
        points: ``[468, 3]`` in pixels of the picture.
    """

    picture: NDArray[np.uint8]
    covered: NDArray[np.bool_]
    points: Floats


class Camera(NamedTuple):
    """How a head is looked at.

    Attributes:
        rotation: ``[3, 3]``, head to camera, in which it is to be seen.
        linear: Pixels of the result for each of the source.
        shift: ``[2]``, where the middle of the eyes is to be, in pixels of the result.
        distance: Of the camera from the middle of the eyes, in distances between the outer corners of the eyes.
        lamp: ``[3]``, direction to a light beside that in which the source was taken, in camera coordinates; its length tells
            how strong it is. None: none.
        rings: As in :meth:`ferkit_mesh.head.Head.with_rings`.
    """

    rotation: Floats
    linear: float
    shift: Floats
    distance: float = float("inf")
    lamp: Floats | None = None
    rings: tuple[tuple[float, float], ...] = RINGS


def turn(
    source: NDArray[np.uint8], points: Floats, head: Head, camera: Camera, size: int, shape: Floats | None = None
) -> Turned:
    """Render a face from another side, with its own mesh as surface (300W-LP, Zhu et al., CVPR 2016).

    Args:
        source: The picture, uint8 ``[H, W]`` or ``[H, W, 3]``.
        points: ``[468, 3]`` in its pixels, of a face turned little: what the camera did not see can't be shown.
        head: Gives rings of hair and throat, and triangles.
        camera: From where.
        size: Side of the result in pixels.
        shape: ``[468, 3]``, the surface to draw instead of the face's own: in the head's frame, from the middle of the eyes, in
            pixels of the source.
    """
    old, _, _ = head.rotation(points)
    middle = (points[33] + points[263]) / 2
    own = (points - middle) @ old
    texture = head.with_rings(own, camera.rings) @ old.T + middle
    shape = head.with_rings(own if shape is None else shape, camera.rings)
    placed = shape @ camera.rotation.T
    if np.isfinite(camera.distance):
        away = camera.distance * np.linalg.norm(points[33] - points[263])
        placed[:, :2] /= np.maximum(1 + placed[:, 2:] / away, 0.2)
    placed *= np.float32(camera.linear)
    placed[:, :2] += camera.shift
    values = texture[:, :2]
    if camera.lamp is not None:
        normals = head.normals(shape) @ camera.rotation.T
        light = np.maximum(1 + normals @ camera.lamp, 0.1)
        seen = light[:POINTS][normals[:POINTS, 2] < 0]
        exposure = seen.mean() if len(seen) else 1  # as a camera's: a face lit from behind is no silhouette
        values = np.column_stack([values, light / exposure])
    drawn, depth = rasterize(placed.astype(np.float32), head.triangles, values.astype(np.float32), size, size)
    maps: Floats = drawn[..., :2] - np.float32(0.5)  # cv2 counts from the centre of the first pixel
    picture = cv2.remap(source, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if camera.lamp is not None:
        shade = drawn[..., 2].reshape(size, size, *[1] * (source.ndim - 2))
        picture = np.clip(picture * shade, 0, 255).astype(np.uint8)
    covered = np.isfinite(depth)
    picture[~covered] = 0
    return Turned(np.asarray(picture, np.uint8), covered, placed[:POINTS].astype(np.float32))
