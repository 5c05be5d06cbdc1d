"""A face of known landmarks seen from another side: the picture is the texture of its own mesh."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ferkit_mesh.head import POINTS, Head
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


def turn(
    source: NDArray[np.uint8], points: Floats, head: Head, rotation: Floats, linear: float, shift: Floats, size: int
) -> Turned:
    """Render a face rotated, by the mesh of 300W-LP (Zhu et al., CVPR 2016) with MediaPipe's points.

    Args:
        source: The picture, uint8 ``[H, W]`` or ``[H, W, 3]``.
        points: ``[468, 3]`` in its pixels, of a face turned little: what the camera did not see can't be shown.
        head: Gives rings of hair and throat, and triangles.
        rotation: ``[3, 3]``, head to camera, in which the head is to be seen.
        linear: Pixels of the result for each of the source.
        shift: ``[2]``, where the middle of the eyes is to be, in pixels of the result.
        size: Side of the result in pixels.
    """
    old, _, _ = head.rotation(points)
    middle = (points[33] + points[263]) / 2
    shape = head.with_rings((points - middle) @ old)
    texture = shape @ old.T + middle
    camera = (shape @ rotation.T) * np.float32(linear)
    camera[:, :2] += shift
    values, depth = rasterize(camera.astype(np.float32), head.triangles, texture[:, :2].astype(np.float32), size, size)
    maps = values - np.float32(0.5)  # cv2 counts from the centre of the first pixel
    picture = cv2.remap(source, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = np.isfinite(depth)
    picture[~covered] = 0
    return Turned(picture, covered, camera[:POINTS])
