"""A z-buffer: triangles with values at their corners to pictures of those values. And pictures looked up at such values."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
EDGE = -1e-4  # how far outside a triangle, in barycentric units, a pixel still counts: no cracks between neighbours


@njit(cache=True, nogil=True)
def rasterize(
    points: Floats, triangles: NDArray[np.int32], values: Floats, height: int, width: int
) -> tuple[Floats, Floats]:
    """Draw a triangle mesh from the front; of surfaces one behind the other the nearest is seen.

    Args:
        points: ``[V, 3]``: x and y in pixels, the centre of the first pixel being 0.5, 0.5; z in any unit, smaller is nearer.
        triangles: ``[T, 3]``, indices of corners. Either side of a triangle is drawn.
        values: ``[V, A]``, interpolated linearly over each triangle.
        height: Of the result in pixels.
        width: Of the result in pixels.

    Returns:
        Values ``[height, width, A]``, 0 where there is nothing, and depth ``[height, width]``, infinite there.
    """
    count = values.shape[1]
    image = np.zeros((height, width, count), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if not abs(area) > 1e-9:  # seen edge on, or unknown
            continue
        top, bottom = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(max(ay, by, cy) + 0.5), height - 1)
        left, right = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(max(ax, bx, cx) + 0.5), width - 1)
        u_step, v_step = (by - cy) / area, (cy - ay) / area
        for row in range(top, bottom + 1):
            x, y = left + 0.5, row + 0.5
            u_left = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
            v_left = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
            for column in range(left, right + 1):
                u = u_left + (column - left) * u_step
                v = v_left + (column - left) * v_step
                w = 1 - u - v
                if u < EDGE or v < EDGE or w < EDGE:
                    continue
                z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                if z < depth[row, column]:
                    depth[row, column] = z
                    for k in range(count):
                        image[row, column, k] = u * values[a, k] + v * values[b, k] + w * values[c, k]
    return image, depth


@njit(cache=True, nogil=True)
def look_up(source: Bytes, x: float, y: float, channel: int) -> float:
    """A picture ``[H, W, C]`` between its pixels, linearly; beyond its border the edge is repeated."""
    height, width = source.shape[:2]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    u, v = x - left, y - top
    upper = (1 - u) * source[top, left, channel] + u * source[top, right, channel]
    lower = (1 - u) * source[bottom, left, channel] + u * source[bottom, right, channel]
    return float((1 - v) * upper + v * lower)


@njit(cache=True, nogil=True)
def compose(source: Bytes, own: Floats, other: Floats, share: Floats, alpha: Floats, behind: Bytes) -> Bytes:
    """Draw a picture from two places of a source, before a background.

    Args:
        source: ``[H, W, C]``.
        own: Where each pixel is looked up, ``[h, w, 2]``, x and y.
        other: Where else.
        share: ``[h, w]``, 0..1, of what is found there.
        alpha: ``[h, w]``, 0..1: how much of the background is hidden.
        behind: The background, ``[h, w, C]``.
    """
    height, width, channels = behind.shape
    result = np.empty_like(behind)
    for row in range(height):
        for column in range(width):
            a, s = alpha[row, column], share[row, column]
            for k in range(channels):
                value = 0.0
                if a > 0 and s < 1:
                    value += (1 - s) * look_up(source, own[row, column, 0], own[row, column, 1], k)
                if a > 0 and s > 0:
                    value += s * look_up(source, other[row, column, 0], other[row, column, 1], k)
                result[row, column, k] = np.uint8(a * value + (1 - a) * behind[row, column, k] + 0.5)
    return result


def smoothstep(x: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, and smoothly from one to the other between."""
    t: Floats = np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)
