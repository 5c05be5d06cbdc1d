import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit.geometry import angles_to_rotation, rotation_to_angles
from ferkit_mesh.head import OVAL, POINTS
from ferkit_mesh.turning import Camera, turn

ANGLES = st.tuples(st.floats(-89, 89), st.floats(-44, 44), st.floats(-44, 44))


def rotation(*angles):
    return angles_to_rotation(torch.tensor(angles, dtype=torch.float32)).numpy()


def test_the_head_is_symmetric_upright_and_of_one_unit(head):
    assert (head.mirror[head.mirror] == np.arange(POINTS)).all()
    assert np.allclose((head.mean * [-1, 1, 1])[head.mirror], head.mean, atol=0.01)
    assert np.isclose(np.linalg.norm(head.mean[33] - head.mean[263]), 1, atol=0.01)
    assert head.mean[10, 1] < head.mean[1, 1] < head.mean[152, 1]  # forehead, nose, chin
    assert head.mean[1, 2] < head.mean[33, 2] < head.mean[234, 2]  # nose before eyes before ears
    assert (head.opposite[head.opposite] == np.arange(POINTS + 2 * len(OVAL))).all()


@settings(deadline=None, max_examples=30)
@given(ANGLES, st.floats(5, 500), st.integers(0, 40))
def test_rotation_place_and_scale_are_found_again(head, angles, scale, component):
    shape = head.mean + head.basis[component % len(head.basis)]  # a person's own
    turned = scale * shape @ rotation(*angles).T + [30, 40, 5]
    found, place, size = head.rotation(turned.astype(np.float32))
    off = rotation_to_angles(torch.from_numpy(found)) - torch.tensor(angles)
    assert off.abs().max() < 4
    assert np.isclose(size, scale, rtol=0.1)
    assert np.abs(place - [30, 40, 5]).max() < 0.1 * scale


@settings(deadline=None, max_examples=30)
@given(ANGLES)
def test_the_mean_heads_rotation_is_exact(head, angles):
    found, _, _ = head.rotation((head.mean @ rotation(*angles).T).astype(np.float32))
    assert np.allclose(found, rotation(*angles), atol=1e-3)


def test_normals_point_out_of_the_head(head):
    shape = head.with_rings(head.mean)
    normals = head.normals(shape)
    assert normals[1, 2] < -0.5  # the nose looks at the camera
    assert normals[234, 0] < -0.3 and normals[454, 0] > 0.3  # the cheeks to either side


def face(head, size=128):
    """A picture whose pixels tell where they come from, and the landmarks of a frontal face in it."""
    y, x = np.mgrid[0:size, 0:size]
    source = np.stack([x * 2, y * 2, 0 * x], -1).astype(np.uint8)
    return source, (head.mean * 40 + [size / 2, 50, 0]).astype(np.float32)


def test_a_face_turned_by_nothing_is_the_same(head):
    source, points = face(head)
    camera = Camera(np.eye(3, dtype=np.float32), 1.0, ((points[33] + points[263]) / 2)[:2])
    turned = turn(source, points, head, camera, 128)
    assert np.abs(turned.points - points).max() < 0.5
    assert turned.covered.mean() > 0.3
    assert np.abs(turned.picture.astype(int) - source)[turned.covered].max() <= 3


def test_a_face_turned_to_the_right_shows_its_left_cheek(head):
    source, points = face(head)
    turned = turn(source, points, head, Camera(rotation(60, 0, 0), 1.0, np.array([64, 50], np.float32)), 128)
    found, _, _ = head.rotation(turned.points)
    assert np.allclose(rotation_to_angles(torch.from_numpy(found)), torch.tensor([60.0, 0, 0]), atol=1)
    assert turned.points[1, 0] > turned.points[[33, 263], 0].mean() + 10  # the nose is to the right of the eyes
    row = turned.picture[60][turned.covered[60]]
    assert np.median(row[:, 0]) < 128 - 10  # pixels from the image's left half: the half that faces the camera


def test_light_and_perspective_leave_the_pose_alone(head):
    source, points = face(head)
    source[...] = 100
    plain = Camera(rotation(30, 0, 0), 1.0, np.array([64, 50], np.float32))
    lamp = np.array([0.6, 0, 0], np.float32)  # from the right
    lit = turn(source, points, head, plain._replace(lamp=lamp, distance=6.0), 128)
    row = lit.picture[50, lit.covered[50], 0]
    assert row[2] < 90 and row[-3] > 100
    near, far = lit.points, turn(source, points, head, plain, 128).points
    assert not np.allclose(near, far, atol=1)
    assert np.abs(near - far).max() < 20
