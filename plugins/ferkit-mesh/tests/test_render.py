import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit_mesh.render import compose, rasterize

SQUARE = np.array([[0, 1, 2], [1, 3, 2]], np.int32)


def plane(z, size=8.0):
    return np.array([[0, 0, z], [size, 0, z], [0, size, z], [size, size, z]], np.float32)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(-2, 2)] * 3))
def test_values_are_interpolated_linearly(slope):
    a, b, c = slope
    points = plane(1.0)
    values = (a * points[:, :1] + b * points[:, 1:2] + c).astype(np.float32)
    image, depth = rasterize(points, SQUARE, values, 8, 8)
    y, x = np.mgrid[0:8, 0:8] + 0.5
    assert np.allclose(image[..., 0], a * x + b * y + c, atol=1e-3)
    assert np.allclose(depth, 1)


def test_the_nearest_surface_is_seen_in_whatever_order_it_is_drawn():
    points = np.concatenate([plane(2.0), plane(1.0, 4.0)])
    values = np.array([[2.0]] * 4 + [[1.0]] * 4, np.float32)
    for triangles in (np.concatenate([SQUARE, SQUARE + 4]), np.concatenate([SQUARE + 4, SQUARE])):
        image, _ = rasterize(points, triangles, values, 8, 8)
        assert (image[:4, :4] == 1).all()
        assert (image[4:] == 2).all() and (image[:, 4:] == 2).all()


def test_neighbouring_triangles_leave_no_crack_and_nothing_beyond_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        angle, shift = rng.uniform(0, 7), rng.uniform(9, 11, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = (np.array([[-6, -6], [6, -6], [-6, 6], [6, 6]]) @ turn.T + shift).astype(np.float32)
        points = np.column_stack([corners, np.ones(4)]).astype(np.float32)
        _, depth = rasterize(points, SQUARE, np.ones((4, 1), np.float32), 20, 20)
        y, x = np.mgrid[0:20, 0:20] + 0.5
        inside = np.abs((np.stack([x, y], -1) - shift) @ turn).max(-1)
        assert np.isfinite(depth[inside < 5.99]).all()
        assert np.isinf(depth[inside > 6.01]).all()


def test_unknown_points_and_triangles_outside_are_left_out():
    points = plane(1.0)
    points[0] = np.nan
    _, depth = rasterize(points, SQUARE, np.ones((4, 1), np.float32), 8, 8)
    assert np.isfinite(depth[7, 7]) and np.isinf(depth[0, 0])
    _, depth = rasterize(plane(1.0) + 100, SQUARE, np.ones((4, 1), np.float32), 8, 8)
    assert np.isinf(depth).all()


def test_a_picture_composed_of_its_own_places_is_itself():
    rng = np.random.default_rng(0)
    source, behind = rng.integers(0, 256, (2, 6, 9, 3)).astype(np.uint8)
    y, x = np.mgrid[0:6, 0:9] + 0.5
    places = np.stack([x, y], -1).astype(np.float32)
    nothing, all_ = np.zeros((6, 9), np.float32), np.ones((6, 9), np.float32)
    mirrored = np.stack([9 - x, y], -1).astype(np.float32)
    assert (compose(source, places, mirrored, nothing, all_, behind) == source).all()
    assert (compose(source, places, mirrored, all_, all_, behind) == source[:, ::-1]).all()
    assert (compose(source, places, mirrored, nothing, nothing, behind) == behind).all()
    half = compose(source, places, places, nothing, all_ / 2, behind)
    assert np.abs(half - (source / 2 + behind / 2)).max() <= 1
