"""Head pose from 5 or 68 landmarks and a generic head, without a network."""

import torch
from torch import Tensor

from ferkit.builtin.generic_head import FIVE, SIXTY_EIGHT
from ferkit.components import Config
from ferkit.geometry import angles_to_rotation, rotation_to_angles, similarity
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch

INNER = range(17, 68)  # without the jaw line, whose 2D points slide along the visible contour as the head turns
START_YAWS = (-60.0, -30.0, 0.0, 30.0, 60.0)
ITERATIONS = 10
RESIDUAL_SCALE = 0.1  # a fit this far off, in units of the distance between the eyes, scores 1/e
FLAT = 1e-3  # landmarks thinner than this share of their extent are a line


class LandmarkPnP:
    """Fits a generic 3D head to 68 landmarks, or to 5 where those are unknown; faces without either keep their pose.

    The camera is a scaled orthographic one. Few and nearly coplanar points have two poses that fit alike (Necker's
    ambiguity), so the fit starts from several yaws and the best residual wins.

    ``pose_score`` is ``exp(-(r / 0.1) ** 2)`` with r the root mean square distance between landmarks and fitted head in
    units of the fitted distance between the eyes. Landmarks that coincide or lie on a line give no pose.
    """

    def __init__(self, config: Config, context: Context) -> None:
        del config, context

    def __call__(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with ``pose`` in degrees and ``pose_score`` wherever their landmarks decide them."""
        del batch
        pose, score = faces.pose, faces.pose_score
        for scheme, head in (("5", FIVE), ("68", SIXTY_EIGHT)):  # the later wins
            if scheme not in faces.landmarks:
                continue
            points = faces.landmarks[scheme][..., :2].cpu().double()
            model = torch.tensor(head, dtype=torch.float64)
            if scheme == "68":
                points, model = points[:, INNER], model[INNER]
            angles, quality = fit_head(points, model)
            known = torch.isfinite(quality).to(pose.device)
            pose = torch.where(known[:, None], angles.to(pose), pose)
            score = torch.where(known, quality.to(score), score)
        return faces.with_pose(pose, score)


def fit_head(points: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Pose of ``head`` that explains ``points`` best under a scaled orthographic camera.

    Levenberg-Marquardt over rotation and scale, from several yaws at once; the translation is the difference of means,
    so both sets are centred first.

    Args:
        points: float64 ``[N, K, 2]`` in pixels.
        head: float64 ``[K, 3]`` in head coordinates, in units of the distance between the eyes.

    Returns:
        Angles ``[N, 3]`` in degrees and score ``[N]`` in 0..1; NaN where points are not finite, coincide or lie on a
        line.
    """
    points = points - points.mean(1, keepdim=True)
    spread = points.square().sum((1, 2)).sqrt()
    usable = torch.isfinite(spread) & (spread > 0)
    unit = torch.where(usable[:, None, None], points / spread[:, None, None], torch.zeros(()))
    usable &= torch.linalg.svdvals(unit)[:, 1] > FLAT
    found = torch.full((len(points), 3), torch.nan, dtype=torch.float64)
    score = torch.full((len(points),), torch.nan, dtype=torch.float64)
    if usable.any():
        rotation, residual = _best_rotation(unit[usable], head - head.mean(0))
        found[usable] = rotation_to_angles(rotation)
        score[usable] = torch.exp(-(residual / RESIDUAL_SCALE).square())
    return found, score


def _best_rotation(points: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    n, starts, k = len(points), len(START_YAWS), len(head)
    yaws = torch.tensor([[yaw, 0.0, 0.0] for yaw in START_YAWS], dtype=torch.float64)
    turned = (angles_to_rotation(yaws) @ head.T).mT  # [starts, K, 3]
    points = points[:, None].expand(n, starts, k, 2).flatten(0, 1)
    turned = turned.expand(n, starts, k, 3).flatten(0, 1)
    # Scale and roll of each start are known in closed form.
    plane = similarity(turned[..., :2], points)
    scale = torch.hypot(plane[:, 0, 0], plane[:, 1, 0])
    roll = torch.rad2deg(torch.atan2(plane[:, 1, 0], plane[:, 0, 0]))
    in_plane = angles_to_rotation(torch.stack((torch.zeros_like(roll), torch.zeros_like(roll), roll), -1))
    rotation = in_plane @ angles_to_rotation(yaws).repeat(n, 1, 1)
    rotation, scale, cost = _refine(points, head, rotation, scale)
    best = cost.view(n, starts).argmin(1) + starts * torch.arange(n)
    return rotation[best], (cost[best] / k).sqrt() / scale[best]


def _refine(points: Tensor, head: Tensor, rotation: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levenberg-Marquardt; a step that does not lower the cost is not taken."""

    def errors(rotation: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        turned = scale[:, None, None] * (rotation @ head.T).mT
        return turned, points - turned[..., :2]

    turned, error = errors(rotation, scale)
    cost = error.square().sum((1, 2))
    damping = torch.full_like(cost, 1e-3)
    for _ in range(ITERATIONS):
        x, y, z = turned.unbind(-1)
        zero = torch.zeros_like(x)
        # Columns: rotation about x, y, z of the camera, and the logarithm of the scale.
        jacobian = torch.cat((torch.stack((zero, z, -y, x), -1), torch.stack((-z, zero, x, y), -1)), 1)
        flat = torch.cat((error[..., 0], error[..., 1]), 1)[..., None]
        normal = jacobian.mT @ jacobian
        level = normal.diagonal(dim1=1, dim2=2).mean(1)
        damped = normal + (damping * level)[:, None, None] * torch.eye(4, dtype=normal.dtype)
        step = torch.linalg.solve(damped, jacobian.mT @ flat)[..., 0]
        new_rotation = torch.linalg.matrix_exp(_cross(step[:, :3])) @ rotation
        new_scale = scale * step[:, 3].exp()
        new_turned, new_error = errors(new_rotation, new_scale)
        new_cost = new_error.square().sum((1, 2))
        better = new_cost < cost
        pick = better[:, None, None]
        rotation, turned = torch.where(pick, new_rotation, rotation), torch.where(pick, new_turned, turned)
        error, scale = torch.where(pick, new_error, error), torch.where(better, new_scale, scale)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping / 4, damping * 4).clamp(1e-12, 1e6)
    return rotation, scale, cost


def _cross(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
