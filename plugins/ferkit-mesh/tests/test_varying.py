"""What varies from one rendering to another must leave alone what the copy's labels and pose are told of."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ferkit.geometry import angles_to_rotation
from ferkit_mesh.turning import Camera, turn
from ferkit_mesh.varying import backdrop, other_depth

SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_another_depth_moves_nothing_that_the_picture_shows(head, seed):
    shape = 90 * (head.mean - head.mean[[33, 263]].mean(0))
    other = other_depth(shape, head, np.random.default_rng(seed))
    assert np.allclose(other[:, :2], shape[:, :2], atol=1e-3)
    assert abs(other[[33, 263], 2].mean()) < 0.01  # the eyes stay, so that the pose is the one asked for
    assert np.allclose(other[head.mirror, 2], other[:, 2], atol=4)  # as symmetric as the mean head is


def test_depths_differ_and_most_of_all_below_the_lips(head):
    shape = head.mean - head.mean[[33, 263]].mean(0)
    others = np.stack([other_depth(shape, head, np.random.default_rng(seed))[:, 2] for seed in range(200)])
    spread = others.std(0)
    lips, nose, chin = spread[[13, 1, 152]]
    assert min(lips, nose) > 0.05
    assert 2 * max(lips, nose) < chin < 0.5


def test_the_two_halves_of_another_surface_meet_without_a_crease(head):
    shape = head.mean - head.mean[[33, 263]].mean(0)
    others = [index for index in range(len(shape)) if index not in (33, 263)]  # whose distance is the unit
    x = np.linspace(-0.4, 0.4, len(others))
    shape[others] = np.column_stack([x, np.full_like(x, 0.2), np.zeros_like(x)])
    level = replace(head, mean=shape.astype(np.float32))
    step = x[1] - x[0]
    for seed in range(50):
        z = other_depth(level.mean, level, np.random.default_rng(seed))[others, 2]
        slopes = np.gradient(z, step)
        middle = len(x) // 2
        assert abs(slopes[middle + 15] - slopes[middle - 15]) < 0.15  # over a twentieth of the distance


@settings(deadline=None, max_examples=50)
@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0, 1.4), st.floats(-85, 85))
@example((0, 0, 1), 1.4, 0)
@example((0.5, 0, 1), 1.25, 82)
def test_a_lamp_leaves_no_silhouette(head, direction, strength, yaw):
    lamp = np.array(direction, np.float32)
    lamp *= strength / max(float(np.linalg.norm(lamp)), 1e-3)
    picture = np.full((128, 128), 100, np.uint8)
    points = (head.mean * 60 + [64, 50, 40]).astype(np.float32)
    view = angles_to_rotation(torch.tensor([yaw, 0, 0])).numpy()
    middle = (points[33] + points[263])[:2] / 2
    lit = turn(picture, points, head, Camera(view, 1.0, middle.astype(np.float32), lamp=lamp), 128)
    drawn = lit.picture[lit.covered]
    assert 30 < drawn.mean() < 215, "on a grid of 23,100 lamps and yaws 36 to 206; without exposure 15"
    assert (drawn < 25).mean() < 0.75


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_a_backdrop_shows_no_face(seed):
    """Eyes and mouth: what stands behind a head is much smoother than they are, or comes from the picture's side."""
    picture = np.full((112, 112, 3), 128, np.uint8)
    picture[40:44, 30:80], picture[80:84, 40:70] = 0, 255  # in the middle half of the columns
    behind = backdrop(picture, np.random.default_rng(seed))
    assert behind.shape == picture.shape and behind.dtype == np.uint8
    assert np.abs(np.diff(behind.astype(int), axis=0)).max() <= 12
