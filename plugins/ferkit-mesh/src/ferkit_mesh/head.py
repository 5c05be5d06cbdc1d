"""The head behind the landmarks: its mean shape, how it varies, its surface and its symmetry."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
POINTS = 468
# MediaPipe's face oval, clockwise in the image from the middle of the forehead.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RINGS = ((1.18, 0.35), (1.38, 0.9))
"""Rings behind the oval: how many times as wide, and how far behind it in units of half the oval's width."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear shape model of MediaPipe's 468 points in the head's own frame: x right, y down, z away from the camera.

    Attributes:
        mean: ``[468, 3]``; the outer corners of the eyes are one unit apart.
        basis: ``[K, 468, 3]``, principal components, each times its standard deviation.
        triangles: ``[T, 3]``, over the points and two rings behind the oval, see :meth:`with_rings`.
        mirror: ``[468]``, the point that lies opposite each.
        rigid: ``[468]``, 0..1: how little a point moves with the expression.
    """

    mean: Floats
    basis: Floats
    triangles: NDArray[np.int32]
    mirror: NDArray[np.int64]
    rigid: Floats

    @classmethod
    def of(cls, tensors: dict[str, NDArray[np.float32]]) -> Self:
        """From the arrays ``head.mean`` and so on, of any dtype."""
        dtypes = {"triangles": np.int32, "mirror": np.int64}
        names = ("mean", "basis", "triangles", "mirror", "rigid")
        return cls(*(np.ascontiguousarray(tensors[f"head.{name}"], dtypes.get(name, np.float32)) for name in names))

    def rotation(self, points: Floats) -> tuple[Floats, Floats, float]:
        """How the mean head must be placed to come closest to points: Kabsch's solution (Acta Cryst. A32, 1976).

        Args:
            points: ``[468, 3]``, depth in the unit of x and y.

        Returns:
            Rotation ``[3, 3]`` from head to camera, position ``[3]`` of the head's origin, and scale: pixels a unit.
        """
        weights = self.rigid[:, None] / self.rigid.sum()
        here, there = (weights * points).sum(0), (weights * self.mean).sum(0)
        head = self.mean - there
        u, stretch, vt = np.linalg.svd((weights * (points - here)).T @ head)
        signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))], np.float32)
        rotation = (u * signs) @ vt
        scale = float((stretch * signs).sum() / (weights * head * head).sum())
        return rotation.astype(np.float32), (here - scale * rotation @ there).astype(np.float32), scale

    def with_rings(self, points: Floats, shape: tuple[tuple[float, float], ...] = RINGS) -> Floats:
        """Points ``[468, 3]`` in the head's frame and two rings behind their oval, ``[540, 3]``: ears, hair and throat."""
        oval = points[list(OVAL)]
        centre = (oval.min(0) + oval.max(0)) / 2
        half = np.ptp(oval[:, 0]) / 2
        rings = [points]
        for wider, back in shape:
            ring = centre + (oval - centre) * np.array([wider, wider, 1], np.float32)
            rings.append(ring + np.array([0, 0, back * half], np.float32))
        return np.concatenate(rings).astype(np.float32)

    def normals(self, shape: Floats) -> Floats:
        """Unit normals ``[540, 3]`` of points in the head's frame, out of the head."""
        a, b, c = (shape[self.triangles[:, k]] for k in range(3))
        faces = np.cross(b - a, c - a)
        faces *= -np.sign(faces[:, 2:])  # the frontal view shows every triangle from outside
        corners = self.triangles.T.ravel()
        total = np.stack([np.bincount(corners, np.tile(faces[:, k], 3), len(shape)) for k in range(3)], 1)
        normals: Floats = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)).astype(np.float32)
        return normals

    def mirrored(self, values: Floats) -> Floats:
        """Values at the 540 points ``[540, …]``, each from the point opposite."""
        return values[self.opposite]

    @property
    def opposite(self) -> NDArray[np.int64]:
        """The point opposite each of the 540, ``[540]``."""
        order = {point: index for index, point in enumerate(OVAL)}
        ring = np.array([order[int(self.mirror[point])] for point in OVAL])
        return np.concatenate([self.mirror, *(POINTS + len(OVAL) * k + ring for k in range(len(RINGS)))])
