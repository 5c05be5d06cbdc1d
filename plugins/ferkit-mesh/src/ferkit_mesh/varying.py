"""What varies from one rendering of a face to another, so that nobody learns the renderer."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ferkit_mesh.head import RINGS, Head
from ferkit_mesh.turning import Camera

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
BUMPS, HIGH = 6, 0.07  # of a face, and their standard deviation in distances between the outer corners of the eyes
LIPS = 0.65  # their height below the eyes, in such distances
JAW = 0.5  # standard deviation of the slope of what varies below them
BLUR = 0.28  # of what is behind a head, in sides of the picture


def varied_camera(rotation: Floats, scale: float, shift: Floats, rng: np.random.Generator) -> Camera:
    """A view with its own distance, light, and volume of hair."""
    distance = np.exp(rng.uniform(np.log(4), np.log(20))) if rng.random() < 0.5 else np.inf
    lamp = None
    if rng.random() < 0.7:
        direction = rng.normal(0, 1, 3) * [1, 1, 0.7]
        lamp = (direction * rng.uniform(0, 1.4) / np.linalg.norm(direction)).astype(np.float32)
    rings: tuple[tuple[float, float], ...] = RINGS
    if rng.random() < 0.7:
        rings = tuple((w * np.exp(rng.normal(0, 0.1)), b * np.exp(rng.normal(0, 0.35))) for w, b in RINGS)
    return Camera(rotation, scale, shift, float(distance), lamp, rings)


def other_depth(shape: Floats, head: Head, rng: np.random.Generator) -> Floats:
    """The face deeper or flatter, its cheeks, forehead and jaw more or less far back, with bumps; or as deep as the mean head.

    The teacher's depth is a guess, and other renderers guess otherwise.
    """
    unit = np.linalg.norm(shape[33] - shape[263])
    x, y, z = (shape / unit).T
    if rng.random() < 0.35:
        z = head.mean[:, 2].copy()
    z = z * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.2) * x * x + rng.normal(0, 0.1) * (y - 0.3) ** 2
    z += _bumps(x, y, rng) + rng.normal(0, JAW) * np.maximum(y - LIPS, 0)
    z -= (z[33] + z[263]) / 2
    return np.column_stack([x, y, z]).astype(np.float32) * np.float32(unit)


def _bumps(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Smooth bumps and hollows, the same on both halves of the face: sockets, a longer nose, another chin."""
    across, along = rng.uniform(0, 0.9, (BUMPS, 1)), rng.uniform(-0.8, 1.4, (BUMPS, 1))
    width, height = rng.uniform(0.2, 0.6, (BUMPS, 1)), rng.normal(0, HIGH, (BUMPS, 1))
    halves = sum(np.exp(-((x - centre) ** 2 + (y - along) ** 2) / (2 * width**2)) for centre in (across, -across))
    both = 1 + np.exp(-2 * (across / width) ** 2)  # of what lies in the middle each half has all
    return np.asarray((height * halves / both).sum(0), np.float32)


def backdrop(picture: Bytes, rng: np.random.Generator | None = None) -> Bytes:
    """What stands behind a head, of a picture's own colours: itself out of focus; with ``rng`` also other things."""
    kind = 0.0 if rng is None else rng.random()
    side = len(picture)
    if kind < 0.5 or rng is None:
        width = 2 * round(BLUR * side / 2) + 1
        return np.asarray(cv2.blur(picture, (width, width)), np.uint8)
    if kind < 0.85:  # a piece from beside the face, which would show its expression unturned
        piece = int(rng.integers(max(side // 8, 1), max(side // 4, 2)))
        x, y = rng.integers(0, 2) * (side - piece), rng.integers(0, side - piece + 1)
        part = picture[y : y + piece, x : x + piece]
        return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.full_like(picture, picture[tuple(rng.integers(0, side, 2))])
