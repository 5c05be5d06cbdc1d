import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit import Faces
from ferkit.alignment import align_faces, cut, face_squares
from ferkit.geometry import FACE_TEMPLATE
from ferkit.recipe_model import Align


def upright(x, y, side):
    """The map from the unit square to an upright square of a picture."""
    return torch.tensor([[side, 0, x], [0, side, y]], dtype=torch.float64)


def ramp(width, height):
    """Red grows to the right, green downwards, blue is 100."""
    red = torch.arange(width).expand(height, width)
    green = torch.arange(height)[:, None].expand(height, width)
    return torch.stack([red, green, torch.full((height, width), 100)]).to(torch.uint8)


def place(side, angle, centre):
    """The template's points of a face of this size, turned clockwise by ``angle`` degrees about ``centre``."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    return (FACE_TEMPLATE - 0.5) @ turn.T * side + torch.tensor(centre)


@pytest.mark.parametrize("scale", [1, 2, 2.2, 0.5])
def test_a_square_is_resampled_to_the_colours_that_are_there(scale):
    view = cut(ramp(200, 200), upright(40, 60, 64 * scale), 64) * 255
    expected = 40 + scale * (torch.arange(64) + 0.5) - 0.5
    assert torch.allclose(view[0, 30, 4:-4], expected[4:-4], atol=0.6)
    assert torch.allclose(view[1, 4:-4, 30], expected[4:-4] + 20, atol=0.6)
    assert torch.allclose(view[2], torch.tensor(100.0), atol=0.01)


def test_the_whole_picture_at_its_own_size_is_itself():
    image = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cut(image, upright(0, 0, 48), 48) * 255, image.float(), atol=1e-3)


def test_fine_stripes_are_averaged_not_aliased():
    stripes = (torch.arange(512) % 2 * 255).expand(3, 512, 512).to(torch.uint8)
    assert torch.allclose(cut(stripes, upright(0, 0, 512), 64), torch.tensor(0.5), atol=0.02)


def test_beyond_the_border_the_edge_is_repeated():
    view = cut(ramp(50, 50), upright(-25, 0, 50), 50) * 255
    assert torch.allclose(view[0, 20, :24], torch.tensor(0.0), atol=0.01)
    assert view[0, 20, 49] == pytest.approx(24, abs=0.6)


@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.floats(0.01, 3000), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60)
def test_any_square_of_any_picture_gives_a_view(x, y, side, width, height):
    image = torch.full((3, height, width), 77, dtype=torch.uint8)
    view = cut(image, upright(x, y, side), 16)
    assert view.shape == (3, 16, 16)
    assert torch.allclose(view * 255, torch.tensor(77.0), atol=0.05)


@given(st.floats(-60, 60), st.floats(20, 200), st.floats(0, 0.5))
@settings(max_examples=40)
def test_landmarks_undo_roll_and_scale(angle, side, margin):
    faces = Faces.of([0], [[0, 0, 1, 1]], landmarks={"5": place(side, angle, (150.0, 150.0))[None]})
    [square] = face_squares(faces, Align(margin=margin))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    grown = side * (1 + 2 * margin)
    expected = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64) * grown
    assert torch.allclose(square[:, :2], expected, atol=1e-2 * side)
    centre = square @ torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(centre, torch.tensor([150.0, 150.0]).double(), atol=0.5)


def test_both_methods_frame_a_frontal_face_alike():
    points = place(80.0, 0, (100.0, 100.0))[None]
    faces = Faces.of([0], [[65, 60, 135, 140]], landmarks={"5": points})
    by_landmarks, by_box = (face_squares(faces, Align(method=method, margin=0.2))[0] for method in ("landmarks", "box"))
    assert torch.allclose(by_landmarks, by_box, atol=0.5)


def test_at_large_yaw_the_box_and_the_roll_decide():
    squeezed = place(80.0, 0, (100.0, 100.0))
    squeezed[:, 0] = 100 + (squeezed[:, 0] - 100) * 0.2  # both eyes nearly in one place, as in a profile
    squeezed[0, 1] += 6

    def square(yaw, roll=0.0):
        pose = torch.tensor([[yaw, 0.0, roll]])
        faces = Faces.of([0], [[60, 60, 140, 140]], landmarks={"5": squeezed[None]}, pose=pose)
        return face_squares(faces, Align(max_yaw=40))[0]

    assert torch.allclose(square(70.0), upright(60, 60, 80), atol=1e-6)
    assert not torch.allclose(square(10.0), upright(60, 60, 80), atol=5)
    tilted = square(70.0, roll=90.0)
    assert torch.allclose(tilted[:, :2], torch.tensor([[0.0, -80], [80, 0]]).double(), atol=1e-4)
    assert torch.allclose(tilted @ torch.tensor([0.5, 0.5, 1]).double(), torch.tensor([100.0, 100]).double())


def test_a_crop_is_taken_as_it_is():
    pose = torch.tensor([[0.0, 0.0, 30.0]])
    points = place(20.0, 30, (24.0, 24.0))[None]
    faces = Faces.of([0], [[0, 0, 48, 48]], is_crop=True, landmarks={"5": points}, pose=pose)
    assert torch.allclose(face_squares(faces, Align(margin=0.3))[0], upright(0, 0, 48))


def test_an_oblong_crop_is_squared_about_its_centre():
    image = ramp(40, 80)
    view = align_faces((image,), Faces.of([0], [[0, 0, 40, 80]], is_crop=True), Align(size=80))[0] * 255
    assert torch.allclose(view[0, 40, :19], torch.tensor(0.0), atol=0.01)
    assert view[0, 40, 40] == pytest.approx(20, abs=0.6)


@pytest.mark.parametrize("points", [torch.full((5, 2), torch.nan), torch.full((5, 2), 7.0)])
def test_useless_landmarks_fall_back_on_the_box(points):
    faces = Faces.of([0], [[10, 10, 30, 50]], landmarks={"5": points[None]})
    assert torch.allclose(face_squares(faces, Align())[0], upright(0, 10, 40))


def test_no_faces_no_views():
    assert align_faces((), Faces.none(), Align(size=32)).shape == (0, 3, 32, 32)
