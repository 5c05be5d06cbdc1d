"""Angles of the head, and the maths of alignment.

Camera coordinates: x right, y down, z away from the camera. The head's own frame equals the camera's when the face is
seen frontally, so the face looks along -z. A rotation takes head to camera coordinates and is made of
``R_yaw @ R_pitch @ R_roll``, with the signs of :class:`ferkit.types.Pose`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Five points of an upright frontal face, in its detector's box made square (side: the larger one, same centre) as unit
# square. Measured with RetinaFace: `python benchmarks/face_template.py FOLDER --n 1500`, 315 near-frontal ones of 1,485
# photographed faces, then made symmetric.
FACE_TEMPLATE = torch.tensor([[0.328, 0.379], [0.672, 0.379], [0.500, 0.587], [0.351, 0.735], [0.649, 0.735]])

_EYES_68 = (tuple(range(36, 42)), tuple(range(42, 48)))
_EYES_MESH = ((33, 133, 160, 159, 158, 144, 145, 153), (362, 263, 387, 386, 385, 373, 374, 380))
_MESH_SIZES = (468, 478)  # MediaPipe's, without and with irises


def angles_to_rotation(angles: Tensor) -> Tensor:
    """Rotation matrices, head to camera, of angles.

    Args:
        angles: ``[..., 3]``: yaw, pitch, roll in degrees.

    Returns:
        ``[..., 3, 3]`` of the same dtype.
    """
    radians = torch.deg2rad(angles)
    (sy, sp, sr), (cy, cp, cr) = radians.sin().unbind(-1), radians.cos().unbind(-1)
    o, i = torch.zeros_like(sy), torch.ones_like(sy)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).reshape(*angles.shape[:-1], 3, 3)

    yaw = matrix(cy, o, -sy, o, i, o, sy, o, cy)
    pitch = matrix(i, o, o, o, cp, sp, o, -sp, cp)
    roll = matrix(cr, -sr, o, sr, cr, o, o, o, i)
    return yaw @ pitch @ roll


def rotation_to_angles(rotation: Tensor) -> Tensor:
    """Angles of rotation matrices: the inverse of :func:`angles_to_rotation`, and the only such function.

    Args:
        rotation: ``[..., 3, 3]``, head to camera.

    Returns:
        ``[..., 3]``: yaw -180..180, pitch -90..90, roll -180..180 in degrees. A face that looks straight up or down has
        no yaw apart from its roll; there roll is 0.
    """
    across = torch.hypot(rotation[..., 1, 0], rotation[..., 1, 1])  # cos(pitch)
    pole = across < 8 * torch.finfo(rotation.dtype).eps
    pitch = torch.atan2(rotation[..., 1, 2], across)
    yaw = torch.atan2(-rotation[..., 0, 2], rotation[..., 2, 2])
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 1, 1])
    yaw = torch.where(pole, torch.atan2(rotation[..., 2, 0], rotation[..., 0, 0]), yaw)
    roll = torch.where(pole, torch.zeros_like(roll), roll)
    return torch.rad2deg(torch.stack((yaw, pitch, roll), -1))


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares rotation, uniform scale and translation of points, without reflection.

    In the plane Umeyama's solution (IEEE PAMI 13(4), 1991) is one complex division: with points as centred complex
    numbers, ``target = a * source`` has a = <source, target> / <source, source>.

    Args:
        source: ``[N, K, 2]``.
        target: ``[N, K, 2]``, or of a shape that broadcasts with it.

    Returns:
        ``[N, 2, 3]``, of the dtype of ``source``; a row is NaN where points are, or where all source points coincide.
    """
    x, y = torch.view_as_complex(source.double().contiguous()), torch.view_as_complex(target.double().contiguous())
    x_mean, y_mean = x.mean(-1), y.mean(-1)
    x, y = x - x_mean[..., None], y - y_mean[..., None]
    a = (x.conj() * y).sum(-1) / x.abs().square().sum(-1)
    b = y_mean - a * x_mean
    rows = torch.stack((a.real, -a.imag, b.real, a.imag, a.real, b.imag), -1)
    return rows.reshape(-1, 2, 3).to(source.dtype)


def to_five(landmarks: dict[str, Tensor]) -> Tensor | None:
    """Five points of each face, from the first scheme that has finite ones for it: ``"5"``, ``"68"``, ``"mesh"``.

    Args:
        landmarks: Scheme to ``[N, K, 2 or 3]``; the mesh is MediaPipe's, with 468 or 478 points.

    Returns:
        ``[N, 5, 2]`` in pixels: centre of the eye that is left in an upright image, of the other, tip of the nose, left
        and right corner of the mouth; NaN where no scheme has them. None if no scheme is there.
    """
    candidates = []
    if "5" in landmarks:
        candidates.append(landmarks["5"][..., :2])
    if "68" in landmarks:
        candidates.append(_five_of(landmarks["68"], _EYES_68, (30, 48, 54)))
    if "mesh" in landmarks and landmarks["mesh"].shape[-2] in _MESH_SIZES:
        candidates.append(_five_of(landmarks["mesh"], _EYES_MESH, (1, 61, 291)))
    if not candidates:
        return None
    five = torch.full_like(candidates[0], torch.nan)
    for points in reversed(candidates):
        known = torch.isfinite(points).all(-1).all(-1)
        five = torch.where(known[:, None, None], points, five)
    return five


def _five_of(points: Tensor, eyes: Sequence[Sequence[int]], others: Sequence[int]) -> Tensor:
    points = points[..., :2]
    centres = [points[..., list(eye), :].mean(-2) for eye in eyes]
    return torch.stack([*centres, *(points[..., index, :] for index in others)], -2)
