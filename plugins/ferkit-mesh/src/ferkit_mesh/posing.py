"""Faces shown in poses that somebody asks for: the other direction of ``mesh-frontal``."""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ferkit.alignment import cut
from ferkit.geometry import angles_to_rotation
from ferkit.interfaces import PosedFace
from ferkit_mesh.head import POINTS, Head
from ferkit_mesh.turning import Camera, turn
from ferkit_mesh.varying import Bytes, Floats, backdrop, other_depth, varied_camera

ROOM = 2.0  # side of the picture around a face of a scene, in units of its landmarks' extent
AROUND = 1.3  # side of the source that is looked at, in units of what is drawn
ZOOM, MOVE = 0.1, 0.07  # standard deviations of size and place where they vary
CENTRED = 0.3  # share of varied pictures with the landmarks in the middle, however the face's own picture is framed


def posed(
    image: Tensor, points: Floats, pose: Tensor, head: Head, size: int, is_crop: bool, seed: int | None
) -> PosedFace | None:
    """Render a face in a pose, its own picture as texture and, out of focus, as background.

    Args:
        image: uint8 ``[3, H, W]``.
        points: ``[468, 3]``, the landmarks in its pixels.
        pose: ``[3]``, yaw, pitch and roll in degrees that the result has.
        head: Whose landmarks they are.
        size: Side of the result in pixels.
        is_crop: Whether the picture is the face: it is then framed alike, the middle of the landmarks where it was.
        seed: Of camera, light, depth, background and place; None: all of them plain.

    Returns:
        The picture with the box of the landmarks in it, None where the landmarks are those of no head.
    """
    rotation, _, scale = head.rotation(points)
    if not scale > 0:
        return None
    rng = None if seed is None else np.random.default_rng(seed)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    if is_crop:
        side = float(max(image.shape[1:]))
        corner = np.array([image.shape[2] - side, image.shape[1] - side]) / 2
    else:
        side = float((high - low).max()) * ROOM
        corner = (low + high) / 2 - side / 2
    origin = corner - side * (AROUND - 1) / 2
    pixels = max(round(side * AROUND * min(size / side, 1)), 16)
    source = _cut(image, origin, side * AROUND, pixels)
    moved = ((points - np.append(origin, 0)) * (pixels / (side * AROUND))).astype(np.float32)
    wanted = angles_to_rotation(pose.float()).numpy().astype(np.float32)
    middle = (moved[33] + moved[263]) / 2
    own = (moved - middle) @ rotation
    zoom = size * AROUND / pixels
    home = (points.mean(0)[:2] - corner) * (size / side)
    if rng is not None:
        zoom *= float(np.exp(rng.normal(0, ZOOM)))
        if rng.random() < CENTRED:
            home = np.full(2, size / 2)
        home += rng.normal(0, MOVE * size, 2)
    shift = (home - (own @ wanted.T).mean(0)[:2] * zoom).astype(np.float32)
    if rng is None:
        turned = turn(source, moved, head, Camera(wanted, zoom, shift), size)
    else:
        turned = turn(source, moved, head, varied_camera(wanted, zoom, shift, rng), size, other_depth(own, head, rng))
    edge = round(pixels * (1 - 1 / AROUND) / 2)
    inner = source[edge : pixels - edge, edge : pixels - edge]
    whole = np.asarray(cv2.resize(inner, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    picture = _composed(turned.picture, turned.covered, backdrop(whole, rng))
    marks = turned.points[:POINTS, :2]
    box = np.concatenate([marks.min(0), marks.max(0)]).clip(0, size).tolist()
    return PosedFace(torch.from_numpy(picture).permute(2, 0, 1).contiguous(), (box[0], box[1], box[2], box[3]))


def _cut(image: Tensor, corner: NDArray[np.floating[Any]], side: float, pixels: int) -> Bytes:
    """A square of a picture, uint8 ``[pixels, pixels, 3]``; beyond its border the edge is repeated."""
    square = torch.cat([torch.eye(2, dtype=torch.float64) * side, torch.from_numpy(corner).double()[:, None]], 1)
    return np.asarray(cut(image, square, pixels).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _composed(picture: Bytes, covered: NDArray[np.bool_], behind: Bytes) -> Bytes:
    alpha = covered.astype(np.float32)
    alpha = (cv2.blur(alpha, (3, 3)) * alpha)[..., None]
    return np.asarray(picture * alpha + behind * (1 - alpha), np.float32).round().astype(np.uint8)
