"""The second renderer, which nothing is trained on: another head, another triangulation, perspective, other light.

The surface is no mesh of landmarks but a depth map on a regular grid: a thin-plate spline through ferkit's generic 68-point
head, whose cheeks, of which the 68 points know nothing, are those of an ellipsoid; another carries it on behind the ears. It is
fitted to a face by five points, seen through a pinhole camera a few heads away, lit by a lamp (Lambert), and stands before a real
photograph.
"""

import cv2
import numpy as np
from scipy.interpolate import NearestNDInterpolator, RBFInterpolator

from ferkit.generic_head import SIXTY_EIGHT
from ferkit_mesh.render import rasterize

COLUMNS, ROWS = 56, 64
WIDTH, TOP, BOTTOM = 1.55, -1.9, 2.2  # of the grid, in units of the distance between the eyes' centres
DISTANCE = 9.0  # of the camera, likewise


def depth_map() -> tuple[np.ndarray, np.ndarray]:
    """The head: ``[V, 3]`` in its own frame, and triangles."""
    points = np.array(SIXTY_EIGHT)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    skull = np.column_stack([1.5 * np.sin(angles), 0.2 - 1.9 * np.cos(angles), np.full(40, 1.5)])
    forehead = np.array([[x, -0.95, 0.15 + 0.35 * x * x] for x in (-0.6, -0.3, 0, 0.3, 0.6)])
    x, y = np.array([[0.5, 0.65, 0.8, 0.95, 0.7], [0.45, 0.45, 0.7, 0.3, 1.0]])
    cheek = np.column_stack([x, y, 0.75 - np.sqrt(1 - (x / 1.15) ** 2 - ((y - 0.5) / 1.6) ** 2)])
    known = np.concatenate([points, skull, forehead, cheek, cheek * [-1, 1, 1]])
    known = known[np.unique(known[:, :2].round(3), axis=0, return_index=True)[1]]
    surface = RBFInterpolator(known[:, :2], known[:, 2], smoothing=0.003)
    x, y = np.meshgrid(np.linspace(-WIDTH, WIDTH, COLUMNS), np.linspace(TOP, BOTTOM, ROWS))
    grid = np.column_stack([x.ravel(), y.ravel()])
    inside = (grid[:, 0] / 1.5) ** 2 + ((grid[:, 1] - 0.2) / 1.9) ** 2 < 1
    z = np.minimum(surface(grid), 1.6)
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return np.column_stack([grid, z]), triangles[inside[triangles].all(1)].astype(np.int32)


VERTICES, TRIANGLES = depth_map()


def turn(
    source: np.ndarray,
    points: np.ndarray,
    old: np.ndarray,
    rotation: np.ndarray,
    fill: float,
    size: int,
    lamp: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture uint8 ``[size, size, …]``, where the head is, and the landmarks ``[468, 3]`` in its pixels, depth included.

    Args:
        source: The picture, grey or colour.
        points: The teacher's ``[468, 3]`` in its pixels: only x and y are used, and only to place the head.
        old: Rotation of the face in the source.
        rotation: The one wanted.
        fill: Size of the head in the result: pixels between the eyes' centres, seen frontally.
        size: Side of the result.
        lamp: Direction of the light ``[3]``, in camera coordinates.
    """
    eyes = (points[[33, 133]].mean(0)[:2], points[[263, 362]].mean(0)[:2])
    mouth = points[[61, 291]].mean(0)[:2]
    here = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 1.05, -0.15]]) @ old.T
    there = np.array([*eyes, mouth])
    scale = np.linalg.norm(there - there.mean(0)) / np.linalg.norm((here - here.mean(0))[:, :2])
    shift = there.mean(0) - scale * here.mean(0)[:2]
    texture = (VERTICES @ old.T)[:, :2] * scale + shift
    lifted = _lift((points[:, :2] - shift) / scale, old)
    camera, marks = (_seen(part @ rotation.T, fill) for part in (VERTICES, lifted))
    middle = np.median(marks[:, :2], 0)
    camera[:, :2] += size / 2 - middle
    marks[:, :2] += size / 2 - middle
    normals = _normals(VERTICES) @ rotation.T
    light = np.clip(0.55 + 0.6 * (normals @ (lamp / np.linalg.norm(lamp))), 0.15, 1.3)
    values = np.column_stack([texture, light]).astype(np.float32)
    drawn, depth = rasterize(camera.astype(np.float32), TRIANGLES, values, size, size)
    picture = cv2.remap(source, drawn[..., :2] - np.float32(0.5), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    shade = drawn[..., 2] if source.ndim == 2 else drawn[..., 2:3]
    covered = np.isfinite(depth)
    return np.clip(picture * shade, 0, 255).astype(np.uint8), covered, marks


def _lift(plane: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Points of the source plane ``[K, 2]`` on the surface, in the head's frame."""
    turned = VERTICES @ old.T
    front = (_normals(VERTICES) @ old.T)[:, 2] < 0
    depth = NearestNDInterpolator(turned[front][:, :2], turned[front][:, 2])(plane)
    return np.column_stack([plane, depth]) @ old


def _seen(points: np.ndarray, fill: float) -> np.ndarray:
    """Through a pinhole camera."""
    z = points[:, 2] + DISTANCE
    return np.column_stack([points[:, :2] / z[:, None] * DISTANCE * fill, points[:, 2] * fill])


def _normals(points: np.ndarray) -> np.ndarray:
    """Of the grid, pointing out of the head."""
    shape = points.reshape(ROWS, COLUMNS, 3)
    normals = np.cross(np.gradient(shape, axis=1), np.gradient(shape, axis=0)).reshape(-1, 3)
    normals *= -np.sign(normals[:, 2:])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
