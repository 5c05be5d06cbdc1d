import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit.geometry import FACE_TEMPLATE, angles_to_rotation, rotation_to_angles, similarity, to_five

FORWARD = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)


def rotation(yaw=0.0, pitch=0.0, roll=0.0):
    return angles_to_rotation(torch.tensor([yaw, pitch, roll], dtype=torch.float64))


def apply(matrices, points):
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


@settings(max_examples=200)
@given(st.floats(-179.9, 179.9), st.floats(-89.9, 89.9), st.floats(-179.9, 179.9))
def test_angles_survive_the_round_trip(yaw, pitch, roll):
    angles = torch.tensor([yaw, pitch, roll], dtype=torch.float64)
    torch.testing.assert_close(rotation_to_angles(angles_to_rotation(angles)), angles, atol=1e-9, rtol=0)


@settings(max_examples=100)
@given(st.floats(-180, 180), st.sampled_from([-90.0, 90.0]), st.floats(-180, 180))
def test_at_the_pole_angles_are_finite_and_give_the_same_rotation(yaw, pitch, roll):
    matrix = rotation(yaw, pitch, roll)
    angles = rotation_to_angles(matrix)
    assert torch.isfinite(angles).all()
    torch.testing.assert_close(angles_to_rotation(angles), matrix, atol=1e-12, rtol=0)


def test_rotations_are_proper_and_batched():
    angles = torch.rand(4, 5, 3, dtype=torch.float64) * 120 - 60
    matrices = angles_to_rotation(angles)
    assert matrices.shape == (4, 5, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(4, 5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(4, 5, dtype=torch.float64))
    torch.testing.assert_close(rotation_to_angles(matrices)[2, 3], rotation_to_angles(matrices[2, 3]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angles_keep_their_dtype_and_accept_no_faces(dtype):
    assert rotation_to_angles(angles_to_rotation(torch.zeros(0, 3, dtype=dtype))).shape == (0, 3)
    assert rotation_to_angles(angles_to_rotation(torch.zeros(1, 3, dtype=dtype))).dtype == dtype


def test_signs():
    assert (rotation(yaw=30) @ FORWARD)[0] > 0.4  # towards the image's right
    assert (rotation(pitch=30) @ FORWARD)[1] < -0.4  # up, where y is less
    right_hand_side = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert (rotation(roll=30) @ right_hand_side)[1] > 0.4  # clockwise: the right side sinks


def test_roll_is_about_the_looking_axis_whatever_yaw_and_pitch():
    torch.testing.assert_close(rotation(40, 20, 70) @ FORWARD, rotation(40, 20, 0) @ FORWARD)


def test_similarity_recovers_what_made_the_points():
    source = torch.rand(6, 5, 2, dtype=torch.float64) * 100
    angle, scale = torch.rand(6, dtype=torch.float64) * 6 - 3, torch.rand(6, dtype=torch.float64) + 0.5
    a, b = scale * angle.cos(), scale * angle.sin()
    matrices = torch.stack((a, -b, torch.full_like(a, 7), b, a, torch.full_like(a, -4)), 1).view(6, 2, 3)
    torch.testing.assert_close(similarity(source, apply(matrices, source)), matrices)


def test_similarity_is_least_squares_and_never_a_reflection():
    torch.manual_seed(0)
    source, target = torch.rand(3, 5, 2, dtype=torch.float64), torch.rand(3, 5, 2, dtype=torch.float64)
    best = similarity(source, target)
    cost = (apply(best, source) - target).square().sum()
    for k, (row, column) in enumerate([(0, 2), (1, 2)]):
        moved = best.clone()
        moved[:, row, column] += 0.01
        assert (apply(moved, source) - target).square().sum() > cost, k
    for turn in (torch.tensor([[1.0, -0.01], [0.01, 1.0]]), torch.tensor([[1.01, 0.0], [0.0, 1.01]])):
        moved = best.clone()
        moved[:, :, :2] = turn.double() @ best[:, :, :2]
        moved[:, :, 2] = target.mean(1) - (moved[:, :, :2] @ source.mean(1)[..., None])[..., 0]
        assert (apply(moved, source) - target).square().sum() > cost
    mirrored = similarity(source, source * torch.tensor([-1.0, 1.0]))
    assert (torch.linalg.det(mirrored[:, :, :2]) > 0).all()


def test_similarity_of_unknown_or_coinciding_points_is_nan_in_its_own_row_only():
    source = torch.rand(3, 5, 2) * 50
    source[1, 2, 0] = torch.nan
    source[2] = 3.0
    matrices = similarity(source, FACE_TEMPLATE)  # one target for all
    assert matrices.dtype == torch.float32
    assert torch.isfinite(matrices[0]).all()
    assert torch.isnan(matrices[1:]).all()
    assert similarity(torch.zeros(0, 5, 2), FACE_TEMPLATE).shape == (0, 2, 3)


def test_template_is_a_symmetric_upright_face():
    torch.testing.assert_close(
        FACE_TEMPLATE[[1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]), FACE_TEMPLATE
    )
    eyes, nose, mouth = FACE_TEMPLATE[:2, 1], FACE_TEMPLATE[2, 1], FACE_TEMPLATE[3:, 1]
    assert 0.2 < eyes.max() < nose < mouth.min() < 0.9
    assert FACE_TEMPLATE[0, 0] < FACE_TEMPLATE[3, 0] < 0.5


def test_five_points_are_taken_from_the_first_scheme_that_has_them_for_a_face():
    five = torch.rand(4, 5, 2)
    sixty_eight, mesh = torch.rand(4, 68, 2), torch.rand(4, 478, 3)
    five[1:, 0] = torch.nan
    sixty_eight[2:, 48] = torch.nan
    mesh[3, 1] = torch.nan
    found = to_five({"mesh": mesh, "68": sixty_eight, "5": five})
    torch.testing.assert_close(found[0], five[0])
    torch.testing.assert_close(found[1], to_five({"68": sixty_eight})[1])
    torch.testing.assert_close(found[2], to_five({"mesh": mesh})[2])
    assert torch.isnan(found[3]).all()


def test_five_points_of_68_and_of_the_mesh():
    sixty_eight = torch.arange(136.0).view(1, 68, 2)
    points = to_five({"68": sixty_eight})[0]
    torch.testing.assert_close(points[0], sixty_eight[0, 36:42].mean(0))
    torch.testing.assert_close(points[2:], sixty_eight[0, [30, 48, 54]])
    mesh = torch.arange(468.0 * 3).view(1, 468, 3)
    points = to_five({"mesh": mesh})[0]
    assert points.shape == (5, 2)
    torch.testing.assert_close(points[2:], mesh[0, [1, 61, 291], :2])
    torch.testing.assert_close(points[1], mesh[0, [362, 263, 387, 386, 385, 373, 374, 380], :2].mean(0))


def test_five_points_of_nothing():
    assert to_five({}) is None
    assert to_five({"mesh": torch.zeros(1, 99, 3)}) is None
    assert to_five({"5": torch.zeros(0, 5, 2)}).shape == (0, 5, 2)
