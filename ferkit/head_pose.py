"""Head pose from 5 or 68 landmarks: a generic 3D head fitted to them, without a network."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ferkit.generic_head import FIVE, SIXTY_EIGHT
from ferkit.geometry import angles_to_rotation, rotation_to_angles, similarity

INNER = range(17, 68)  # without the jaw line, whose 2D points slide along the visible contour as the head turns
START_YAWS = (-60.0, -30.0, 0.0, 30.0, 60.0)
ITERATIONS = 10
RESIDUAL_SCALE = 0.1  # a fit this far off, in units of the distance between the eyes, scores 1/e
NOISE = 0.04  # usual error of a landmark, in units of the distance between the eyes
SMILE = 0.1  # what a smile lifts the corners of the mouth by, usually; 0.05 to 0.3 were tried, 0.1 errs least in pitch
FLAT = 1e-3  # landmarks thinner than this share of their extent are a line


def pose_from_landmarks(points: Tensor, scheme: Literal["5", "68"]) -> tuple[Tensor, Tensor]:
    """Pose of faces by fitting a generic 3D head to their landmarks.

    Of 5 points two are corners of the mouth, which a smile lifts; taken for a rotation it would bow the head by tens of
    degrees. So the mouth of the 5-point head may rise or fall, against a prior. Of 68, the jaw line is left out.

    The camera is a scaled orthographic one. Few and nearly coplanar points have two poses that fit alike (Necker's
    ambiguity), so the fit starts from several yaws and the best residual wins.

    Args:
        points: ``[N, 5 or 68, 2 or 3]`` in pixels; a third coordinate is not used.
        scheme: Which landmarks they are.

    Returns:
        Yaw, pitch and roll ``[N, 3]`` in degrees, and a score ``[N]``: ``exp(-(r / 0.1) ** 2)`` with r the root mean
        square distance between landmarks and fitted head in units of the fitted distance between the eyes. Both float64
        on the CPU, and NaN where landmarks are unknown, coincide or lie on a line.
    """
    plane = points[..., :2].cpu().double()
    if scheme == "68":
        return fit_head(plane[:, INNER], torch.tensor(SIXTY_EIGHT, dtype=torch.float64)[INNER])
    head = torch.tensor(FIVE, dtype=torch.float64)
    return fit_head(plane, head, smile(head))


def smile(head: Tensor) -> Tensor:
    """How the mouth of a 5-point head moves by itself, ``[5, 3]``, for ``fit_head``."""
    flex = torch.zeros_like(head)
    flex[3:, 1] = SMILE
    return flex


def fit_head(points: Tensor, head: Tensor, flex: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pose of ``head`` that explains ``points`` best under a scaled orthographic camera.

    Levenberg-Marquardt over rotation, scale and flexion, from several yaws at once; the translation is the difference
    of means, so both sets are centred first.

    Args:
        points: float64 ``[N, K, 2]`` in pixels.
        head: float64 ``[K, 3]`` in head coordinates, in units of the distance between the eyes.
        flex: float64 ``[K, 3]``: how the head moves by itself, one unit being as likely as an error of
            :data:`NOISE` in a landmark. None: it is rigid.

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
        flex = torch.zeros_like(head) if flex is None else flex
        rotation, residual = _best_rotation(unit[usable], head - head.mean(0), flex - flex.mean(0))
        found[usable] = rotation_to_angles(rotation)
        score[usable] = torch.exp(-(residual / RESIDUAL_SCALE).square())
    return found, score


def _best_rotation(points: Tensor, head: Tensor, flex: Tensor) -> tuple[Tensor, Tensor]:
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
    state = _State(in_plane @ angles_to_rotation(yaws).repeat(n, 1, 1), scale, torch.zeros_like(scale))
    state, cost = _refine(points, head, flex, state)
    best = cost.view(n, starts).argmin(1) + starts * torch.arange(n)
    return state.rotation[best], (cost[best] / k).sqrt() / state.scale[best]


class _State(NamedTuple):
    """Rotation ``[B, 3, 3]``, scale ``[B]`` and flexion ``[B]`` of each fit."""

    rotation: Tensor
    scale: Tensor
    flexion: Tensor


def _refine(points: Tensor, head: Tensor, flex: Tensor, state: _State) -> tuple[_State, Tensor]:
    """Levenberg-Marquardt; a step that does not lower the cost is not taken."""

    def project(state: _State) -> tuple[Tensor, Tensor]:
        """The head in the camera ``[B, K, 3]``, and what is to become zero ``[B, 2K + 1]``."""
        shape = head + state.flexion[:, None, None] * flex
        turned = state.scale[:, None, None] * (shape @ state.rotation.mT)
        error = points - turned[..., :2]
        return turned, torch.cat((error[..., 0], error[..., 1], -prior(state) * state.flexion[:, None]), 1)

    def prior(state: _State) -> Tensor:
        return NOISE * state.scale[:, None]

    turned, error = project(state)
    cost = error.square().sum(1)
    damping = torch.full_like(cost, 1e-3)
    for _ in range(ITERATIONS):
        x, y, z = turned.unbind(-1)
        zero = torch.zeros_like(x)
        bend = state.scale[:, None, None] * (flex @ state.rotation.mT)
        # Columns: rotation about x, y, z of the camera, the logarithm of the scale, the flexion.
        across = torch.stack((zero, z, -y, x, bend[..., 0]), -1)
        down = torch.stack((-z, zero, x, y, bend[..., 1]), -1)
        rest = torch.cat((torch.zeros(len(cost), 4, dtype=cost.dtype), prior(state)), 1)[:, None]
        jacobian = torch.cat((across, down, rest), 1)
        normal = jacobian.mT @ jacobian
        level = normal.diagonal(dim1=1, dim2=2).mean(1)
        damped = normal + (damping * level)[:, None, None] * torch.eye(5, dtype=normal.dtype)
        step = torch.linalg.solve(damped, jacobian.mT @ error[..., None])[..., 0]
        new = _State(
            torch.linalg.matrix_exp(_cross(step[:, :3])) @ state.rotation,
            state.scale * step[:, 3].exp(),
            state.flexion + step[:, 4],
        )
        new_turned, new_error = project(new)
        new_cost = new_error.square().sum(1)
        better = new_cost < cost
        pick = better[:, None, None]
        state = _State(
            torch.where(pick, new.rotation, state.rotation),
            torch.where(better, new.scale, state.scale),
            torch.where(better, new.flexion, state.flexion),
        )
        turned, error = torch.where(pick, new_turned, turned), torch.where(better[:, None], new_error, error)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping / 4, damping * 4).clamp(1e-12, 1e6)
    return state, cost


def _cross(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
