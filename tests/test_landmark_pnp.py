"""Pose from landmarks: signs and errors on heads other than the generic one, and on a real photograph."""

import pytest
import torch

from ferkit.builtin.landmark_pnp import LandmarkPnP
from ferkit.components import Config
from ferkit.generic_head import FIVE, SIXTY_EIGHT
from ferkit.geometry import angles_to_rotation
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch
from ferkit.weights import WeightsStore

EYE_DISTANCE = 60  # pixels
HEADS = {"5": torch.tensor(FIVE), "68": torch.tensor(SIXTY_EIGHT)}
ANGLES = torch.cartesian_prod(
    torch.arange(-75.0, 76.0, 15.0), torch.tensor([-30.0, -15.0, 0.0, 15.0, 30.0]), torch.arange(-40.0, 41.0, 20.0)
)


def estimate(faces):
    batch = ImageBatch((torch.zeros(3, 400, 400, dtype=torch.uint8),), ("array",))
    context = Context(torch.device("cpu"), torch.float32, 0, ("neutral",), WeightsStore())
    return LandmarkPnP(Config(), context)(batch, faces)


def faces_with(**landmarks):
    schemes = {name.strip("_"): points for name, points in landmarks.items()}
    n = len(next(iter(schemes.values())))
    return Faces.of([0] * n, torch.tensor([[0.0, 0.0, 400.0, 400.0]]).expand(n, 4), landmarks=schemes)


def project(head, angles, distance=None):
    """Points in pixels of ``head``, orthographic or seen from ``distance`` eye distances."""
    turned = (angles_to_rotation(angles) @ head.mT).mT
    depth = 1 if distance is None else 1 + turned[..., 2:] / distance
    return 200 + EYE_DISTANCE * turned[..., :2] / depth


def other_heads(scheme, nose):
    """A head of its own for every angle: each point is displaced, and the whole of it shallower or deeper."""
    torch.manual_seed(1)
    head = HEADS[scheme].expand(len(ANGLES), -1, 3)
    return (head + 0.03 * torch.randn(head.shape)) * torch.tensor([1, 1, nose])


def errors(faces, angles):
    return (faces.pose - angles).abs()


@pytest.mark.parametrize("scheme", HEADS)
def test_exact_on_its_own_orthographic_projections(scheme):
    faces = estimate(faces_with(**{f"_{scheme}": project(HEADS[scheme].expand(len(ANGLES), -1, 3), ANGLES)}))
    assert errors(faces, ANGLES).max() < 0.1
    assert faces.pose_score.min() > 0.999
    assert faces.pose.dtype == faces.pose_score.dtype == torch.float32


# Measured at the deeper nose: mean 3.6, 3.2, 2.8, 95th percentile of yaw 8.8 with 5 points; 2.6, 1.9, 1.2, 5.7 with 68.
@pytest.mark.parametrize("nose", [0.85, 1.15])
@pytest.mark.parametrize(("scheme", "mean", "most"), [("5", 4.5, 11.0), ("68", 3.5, 8.0)])
def test_other_heads_near_by_with_noise(scheme, mean, most, nose):
    points = project(other_heads(scheme, nose), ANGLES, distance=8)
    points += torch.randn(points.shape)
    faces = estimate(faces_with(**{f"_{scheme}": points}))
    error = errors(faces, ANGLES)
    assert (error.mean(0) < mean).all()
    assert error[:, 0].quantile(0.95) < most
    turned = ANGLES[:, 0].abs() >= 30
    assert (faces.pose[turned, 0].sign() == ANGLES[turned, 0].sign()).all()


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("angle", [-25.0, 25.0])
def test_each_angle_alone(column, angle):
    angles = torch.zeros(1, 3)
    angles[0, column] = angle
    pose = estimate(faces_with(_5=project(HEADS["5"][None], angles))).pose
    torch.testing.assert_close(pose, angles, atol=0.1, rtol=0)


def test_signs_as_seen_in_the_image():
    face = project(HEADS["5"][None], torch.zeros(1, 3))
    to_the_right, upwards = face.clone(), face.clone()
    to_the_right[0, 2, 0] += 12  # the nose moves to the image's right
    upwards[0, 2, 1] -= 12
    x, y = (face - 200).unbind(-1)
    clockwise = 200 + torch.stack((0.866 * x - 0.5 * y, 0.5 * x + 0.866 * y), -1)
    pose = estimate(faces_with(_5=torch.cat((to_the_right, upwards, clockwise)))).pose
    assert pose[0, 0] > 10
    assert pose[1, 1] > 10
    assert clockwise[0, 1, 1] > clockwise[0, 0, 1]  # the right eye is lower
    assert pose[2, 2] == pytest.approx(30, abs=0.2)


def test_a_batch_equals_its_faces_one_by_one():
    points = project(other_heads("5", 0.85), ANGLES, distance=8)[::20]
    together = estimate(faces_with(_5=points))
    single = Faces.concat(estimate(faces_with(_5=points[i : i + 1])) for i in range(len(points)))
    torch.testing.assert_close(together.pose, single.pose, atol=1e-3, rtol=0)
    torch.testing.assert_close(together.pose_score, single.pose_score, atol=1e-5, rtol=0)


def test_no_faces_and_no_landmarks():
    assert len(estimate(Faces.none())) == 0
    assert estimate(faces_with(_5=torch.zeros(0, 5, 2))).pose.shape == (0, 3)
    without = estimate(Faces.of([0], [[0, 0, 9, 9]]))
    assert torch.isnan(without.pose).all()
    assert torch.isnan(without.pose_score).all()


def test_unknown_landmarks_leave_their_face_without_pose_and_the_others_as_they_are():
    angles = torch.tensor([[20.0, 5.0, 0.0], [-40.0, 0.0, 10.0], [10.0, 0.0, 0.0]])
    points = project(HEADS["5"].expand(3, 5, 3), angles)
    points[1, 3, 0] = torch.nan
    points[2, 0, 1] = torch.inf
    faces = estimate(faces_with(_5=points))
    torch.testing.assert_close(faces.pose[0], angles[0], atol=0.1, rtol=0)
    assert torch.isnan(faces.pose[1:]).all()
    assert torch.isnan(faces.pose_score[1:]).all()


def test_a_pose_already_known_stays_where_landmarks_are_not():
    known = Faces.of([0], [[0, 0, 9, 9]], pose=torch.tensor([[5.0, 6.0, 7.0]]), pose_score=torch.tensor([0.5]))
    assert estimate(known).pose.tolist() == [[5.0, 6.0, 7.0]]


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e20])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_degenerate_landmarks_give_no_pose_or_one_of_low_score(scale, noise):
    torch.manual_seed(0)
    along = torch.linspace(0, 1, 5)
    line = torch.stack((along, 0.4 * along), -1)[None]
    shuffled = line[:, [3, 1, 4, 0, 2]]
    points = torch.cat((torch.zeros(1, 5, 2), line, shuffled))
    faces = estimate(faces_with(_5=scale * (points + noise * torch.randn(points.shape))))
    assert not torch.isinf(faces.pose).any()
    assert not (faces.pose_score > 0.3).any()
    if noise == 0:
        assert torch.isnan(faces.pose).all()


def test_68_points_are_preferred_and_5_stand_in_where_they_are_unknown():
    by_68, by_5 = torch.tensor([[35.0, 0.0, 0.0]]).expand(2, 3), torch.tensor([[-35.0, 0.0, 0.0]]).expand(2, 3)
    points = project(HEADS["68"].expand(2, 68, 3), by_68)
    points[1, 40] = torch.nan
    faces = estimate(faces_with(_68=points, _5=project(HEADS["5"].expand(2, 5, 3), by_5)))
    torch.testing.assert_close(faces.pose[:, 0], torch.tensor([35.0, -35.0]), atol=0.1, rtol=0)


def test_the_jaw_line_is_not_needed():
    points = project(HEADS["68"][None], torch.tensor([[50.0, 0.0, 0.0]]))
    points[:, :17] = torch.nan
    assert estimate(faces_with(_68=points)).pose[0, 0] == pytest.approx(50, abs=0.1)


# examples/images/solvay_1927.jpg: what RetinaFace marks on Fowler (back row, second from the right), who looks to the
# image's left, on Richardson (front row, far right), who does too and tilts his head counter-clockwise, and on Debye
# (middle row, far left), who looks to the image's right.
FOWLER = [(1392, 470), (1411, 468), (1398, 482), (1396, 493), (1411, 491)]
RICHARDSON = [(1443, 660), (1464, 656), (1453, 670), (1449, 681), (1465, 679)]
DEBYE = [(141, 628), (162, 630), (153, 642), (141, 650), (158, 652)]


def test_faces_turned_in_a_real_photograph():
    faces = estimate(faces_with(_5=torch.tensor([FOWLER, RICHARDSON, DEBYE], dtype=torch.float32)))
    yaw, pitch, roll = faces.pose.unbind(1)
    assert -45 < yaw[0] < -15
    assert -35 < yaw[1] < -5
    assert 5 < yaw[2] < 35
    assert (pitch.abs() < 20).all()
    assert -20 < roll[1] < -3
    assert (faces.pose_score > 0.8).all()
