"""Normalizer ``mesh-frontal``: a face seen from the front, drawn from its own picture by its own mesh.

Faces are turned as by Hassner et al. (CVPR 2015), who fill what is hidden from the mirrored half where that was seen; but with
the person's own shape, as HPEN (Zhu et al., CVPR 2015), not a generic one, so that mouth, brows and lids stay as they are. That
the surface goes on behind the face's outline is from 300W-LP (Zhu et al., CVPR 2016).
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ferkit import Context, Faces, Frontal, ImageBatch
from ferkit.alignment import cut
from ferkit.geometry import to_five
from ferkit_mesh import FrontalConfig
from ferkit_mesh.head import OVAL, POINTS, Head
from ferkit_mesh.loading import head_of
from ferkit_mesh.render import rasterize

Floats = NDArray[np.float32]
FACE = 1.92  # side of a frontal face in units of the head, so that it is framed as by ferkit.geometry.FACE_TEMPLATE
MIDDLE = 0.23  # its centre lies this far below the eyes, in the same units
AROUND = 1.3  # side of the source that is looked at, in units of what is drawn
SEEN = (0.05, 0.35)  # cosine between surface and line of sight: not seen below, well seen above
BETTER = (-0.05, 0.2)  # by how much the mirrored point must face the camera more
HIDDEN = 0.12  # behind another surface by more than this, in units of the head


class Rendered(NamedTuple):
    """A face from the front.

    Attributes:
        picture: uint8 ``[S, S, 3]``.
        points: ``[468, 3]`` in its pixels.
        confidence: ``[S, S]``, 0..1: how well the source showed what is drawn; 0 outside the face.
    """

    picture: NDArray[np.uint8]
    points: Floats
    confidence: Floats


class MeshFrontal:
    """Removes yaw, pitch and roll; faces whose mesh is unknown are not turned.

    The score of a result is that of the landmarks times the mean confidence over the face.

    Raises:
        WeightsError: If the head model is missing or altered.
    """

    def __init__(self, config: FrontalConfig, context: Context) -> None:
        tensors, _ = context.weights.load(config.weights)
        self._head = head_of(tensors, config.weights)
        self._config = config

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """One frontal view a face, ``size * (1 + 2 * margin)`` px wide, or None where its mesh is unknown."""
        meshes = faces.landmarks.get("mesh")
        if meshes is None:
            return [None] * len(faces)
        return [
            self._turn(batch.images[index], mesh, score) if bool(torch.isfinite(mesh).all()) else None
            for index, mesh, score in zip(faces.image_index.tolist(), meshes, faces.pose_score.tolist(), strict=True)
        ]

    def _turn(self, image: Tensor, mesh: Tensor, score: float) -> Frontal | None:
        unit = self._config.size / FACE  # pixels of the result per unit of the head
        points = mesh[:POINTS].numpy()
        _, _, scale = self._head.rotation(points)
        if not scale > 0:
            return None
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        side = max(float((high - low).max()), scale * FACE * (1 + 2 * self._config.margin)) * AROUND
        pixels = max(round(side * min(unit / scale, 1)), 16)  # a small face is enlarged once only, when it is drawn
        corner = torch.from_numpy((low + high) / 2 - side / 2).double()
        square = torch.cat([torch.eye(2, dtype=torch.float64) * side, corner[:, None]], 1)
        source = cut(image, square, pixels).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        moved = (points - np.append(corner.numpy(), 0)) * (pixels / side)
        rendered = frontalize(source, moved.astype(np.float32), self._head, self._config)
        five = to_five({"mesh": torch.from_numpy(rendered.points)[None]})
        assert five is not None
        inside = rendered.confidence[rendered.confidence > 0]
        quality = float(inside.mean()) if inside.size else 0.0
        known = 1.0 if np.isnan(score) else score
        return Frontal(torch.from_numpy(rendered.picture).permute(2, 0, 1), five[0], known * quality)


def frontalize(source: NDArray[np.uint8], points: Floats, head: Head, config: FrontalConfig) -> Rendered:
    """Draw a face from the front.

    Args:
        source: Picture of the face, uint8 ``[H, W, 3]``, about as large as the result.
        points: ``[468, 3]`` in its pixels.
        head: Whose mesh they are.
        config: Size, margin, and whether the hidden half is filled.

    """
    rotation, _, scale = head.rotation(points)
    middle = (points[33] + points[263]) / 2
    shape = head.with_rings((points - middle) @ rotation / scale)
    texture = shape @ (rotation.T * scale) + middle
    size, unit = round(config.size * (1 + 2 * config.margin)), config.size / FACE
    place = np.array([size / 2, size / 2 - MIDDLE * unit, 0], np.float32)
    target = (shape * unit + place).astype(np.float32)
    own, mirrored = _weights(shape, texture, rotation, scale, head, source.shape, config.mirror)
    edge = np.ones(len(shape), np.float32)
    edge[-len(OVAL) :] = 0
    opposite = head.opposite
    values = np.column_stack([texture[:, :2], texture[opposite, :2], own, mirrored, edge]).astype(np.float32)
    drawn, _ = rasterize(target, head.triangles, values, size, size)
    seen = _sampled(source, drawn[..., 0:2])
    if config.mirror:
        share = _softened(drawn[..., 5] / np.maximum(drawn[..., 4] + drawn[..., 5], 1e-6), unit)[..., None]
        seen = seen * (1 - share) + _sampled(source, drawn[..., 2:4]) * share
    behind = _background(source, texture, rotation, scale, target, unit, size)
    alpha = drawn[..., 6:7]
    picture = seen * alpha + behind * (1 - alpha)
    confidence = np.clip(drawn[..., 4] + drawn[..., 5], 0, 1) * drawn[..., 6]
    return Rendered(np.clip(picture + 0.5, 0, 255).astype(np.uint8), target[:POINTS], confidence)


def _weights(
    shape: Floats, texture: Floats, rotation: Floats, scale: float, head: Head, room: tuple[int, ...], mirror: bool
) -> tuple[Floats, Floats]:
    """How well each of the 540 points was seen itself, and by how much the one opposite is to stand in for it."""
    facing = -(head.normals(shape) @ rotation.T)[:, 2]
    half = (texture / 2).astype(np.float32)  # half the resolution is enough
    _, depth = rasterize(half, head.triangles, np.zeros((len(half), 0), np.float32), room[0] // 2, room[1] // 2)
    columns = np.clip(half[:, 0].astype(int), 0, depth.shape[1] - 1)
    rows = np.clip(half[:, 1].astype(int), 0, depth.shape[0] - 1)
    covered = half[:, 2] - depth[rows, columns] > HIDDEN * scale / 2
    facing = np.where(covered, np.minimum(facing, 0), facing)
    own = _smoothstep(facing, *SEEN)
    if not mirror:
        return own, np.zeros_like(own)
    other = head.mirrored(facing)
    return own, (1 - own) * _smoothstep(other - facing, *BETTER)


def _smoothstep(x: Floats, low: float, high: float) -> Floats:
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _softened(share: Floats, unit: float) -> Floats:
    """The seam between own and mirrored pixels, blurred."""
    return cv2.GaussianBlur(share, (0, 0), 0.04 * unit).astype(np.float32)


def _sampled(source: NDArray[np.uint8], places: Floats) -> Floats:
    """The source at places ``[S, S, 2]``, float32 ``[S, S, 3]``; beyond its border the edge is repeated."""
    maps = np.ascontiguousarray(places - np.float32(0.5))
    return cv2.remap(source, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def _background(
    source: NDArray[np.uint8], texture: Floats, rotation: Floats, scale: float, target: Floats, unit: float, size: int
) -> Floats:
    """The source upright and of the result's scale, the middle of the head where that of the frontal head is."""
    angle = np.arctan2(rotation[1, 0], rotation[0, 0]) if rotation[0, 0] > 0.3 else 0.0
    cos, sin = np.cos(angle) * scale / unit, np.sin(angle) * scale / unit
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([linear, texture[:, :2].mean(0) - linear @ target[:, :2].mean(0)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return turned.astype(np.float32)
