import numpy as np
import pytest
import torch
from mesh_faces import FACE, context, turned
from safetensors.torch import load_file, save_file

import ferkit
from ferkit import Faces, ImageBatch, WeightsError
from ferkit.geometry import to_five
from ferkit_mesh import MeshConfig
from ferkit_mesh.pose import Mesh

EYES_NOSE_MOUTH = torch.tensor([[204.5, 100.5], [246, 103], [224.5, 126], [202.5, 139], [245, 140]])  # by eye


def test_landmarks_lie_where_eyes_nose_and_mouth_are(estimate, astronaut):
    faces = estimate(astronaut, FACE)
    assert faces.landmarks["mesh"].shape == (1, 468, 3)
    five = to_five({"mesh": faces.landmarks["mesh"]})
    assert (five[0] - EYES_NOSE_MOUTH).norm(dim=1).max() < 9  # of a face 110 px wide
    assert faces.pose_score[0] > 0.4


def test_a_mirrored_face_has_the_mirrored_pose(estimate, astronaut):
    width = astronaut.shape[2]
    one = estimate(astronaut, FACE)
    other = estimate(astronaut.flip(2), (width - FACE[2], FACE[1], width - FACE[0], FACE[3]))
    assert (one.pose[0] - other.pose[0] * torch.tensor([-1, 1, -1])).abs().max() < 8


@pytest.mark.parametrize("yaw", [-75.0, -45.0, -20.0, 20.0, 45.0, 75.0])
def test_a_face_turned_by_known_degrees_has_that_yaw(estimate, head, astronaut, yaw):
    picture, box, points = turned(estimate, head, astronaut, yaw)
    faces = estimate(picture, box)
    assert abs(float(faces.pose[0, 0]) - yaw) < 12
    assert faces.pose[0, 1:].abs().max() < 15
    off = np.linalg.norm(faces.landmarks["mesh"][0, :, :2].numpy() - points[:, :2], axis=1)
    assert off.mean() < 9  # of a face about 130 px high


@pytest.mark.parametrize("pitch", [-25.0, 25.0])
def test_a_face_that_looks_up_has_positive_pitch(estimate, head, astronaut, pitch):
    picture, box, _ = turned(estimate, head, astronaut, 0.0, pitch)
    assert abs(float(estimate(picture, box).pose[0, 1]) - pitch) < 12


def test_a_crop_that_is_the_face_needs_no_margin(estimate, astronaut):
    x0, y0, x1, y1 = (int(v) for v in FACE)
    crop = astronaut[:, y0:y1, x0:x1].contiguous()
    inside = estimate(crop, (0.0, 0.0, float(x1 - x0), float(y1 - y0)), is_crop=True)
    outside = estimate(astronaut, FACE)
    assert (inside.pose - outside.pose).abs().max() < 12
    shifted = inside.landmarks["mesh"][0, :, :2] + torch.tensor([x0, y0])
    assert (shifted - outside.landmarks["mesh"][0, :, :2]).norm(dim=1).mean() < 8


def test_a_batch_gives_what_single_faces_give(estimate, astronaut):
    boxes = [FACE, (160.0, 40.0, 290.0, 200.0), (0.0, 0.0, 20.0, 20.0)]
    together = estimate(astronaut, *boxes)
    for index, box in enumerate(boxes):
        alone = estimate(astronaut, box)
        assert torch.allclose(alone.pose[0], together.pose[index], atol=1e-2)
        assert torch.allclose(alone.landmarks["mesh"][0], together.landmarks["mesh"][index], atol=1e-2)
    assert len(estimate(astronaut)) == 0


def drawing():
    """Two eyes and a mouth in outline, which no photograph is."""
    canvas = torch.full((3, 100, 100), 255, dtype=torch.uint8)
    canvas[:, 30:34, 25:35], canvas[:, 30:34, 65:75], canvas[:, 70:73, 30:70] = 0, 0, 0
    return canvas


NOT_FACES = {
    "grey": torch.full((3, 100, 100), 128, dtype=torch.uint8),
    "noise": torch.randint(0, 256, (3, 100, 100), generator=torch.Generator().manual_seed(0), dtype=torch.uint8),
    "drawing": drawing(),
}


@pytest.mark.parametrize("name", NOT_FACES)
def test_what_is_no_face_is_given_little_confidence(estimate, name):
    assert estimate(NOT_FACES[name], (10.0, 10.0, 90.0, 90.0)).pose_score[0] < 0.3


def test_below_the_least_score_landmarks_and_pose_are_unknown():
    image, box = NOT_FACES["noise"], torch.tensor([[10.0, 10, 90, 90]])
    with torch.inference_mode():
        faces = Mesh(MeshConfig(), context())(ImageBatch((image,), ("",)), Faces.of([0], box))
    assert torch.isnan(faces.landmarks["mesh"]).all() and torch.isnan(faces.pose).all()
    assert 0 <= faces.pose_score[0] < 0.3


def test_landmarks_that_contradict_the_detector_are_unknown(astronaut):
    mesh, box = Mesh(MeshConfig(), context()), torch.tensor([FACE])
    for five, known in (
        (EYES_NOSE_MOUTH, True),
        (torch.full((5, 2), torch.nan), True),
        (EYES_NOSE_MOUTH.flip(0), False),
    ):
        with torch.inference_mode():
            faces = mesh(ImageBatch((astronaut,), ("",)), Faces.of([0], box, landmarks={"5": five[None]}))
        assert torch.isfinite(faces.pose).all() == known
        assert (faces.pose_score[0] > 0) == known
        assert torch.isfinite(faces.landmarks["mesh"]).all() == known


@pytest.mark.parametrize(
    "box",
    [(-60.0, 55.0, 50.0, 185.0), (170.0, 55.0, 170.0, 55.0), (5000.0, 10.0, 5100.0, 90.0), (200.0, 90.0, 220.0, 110.0)],
)
def test_boxes_half_outside_empty_or_tiny_do_no_harm(estimate, astronaut, box):
    faces = estimate(astronaut, box)
    assert torch.isfinite(faces.landmarks["mesh"]).all()
    assert 0 <= faces.pose_score[0] <= 1


def test_a_face_of_twenty_pixels_is_still_about_right(estimate, astronaut):
    small = torch.nn.functional.interpolate(astronaut[None].float(), scale_factor=0.18, mode="area")[0].byte()
    faces = estimate(small, tuple(v * 0.18 for v in FACE))
    assert (faces.pose - estimate(astronaut, FACE).pose).abs().max() < 20


def test_any_weights_of_its_shape_are_taken(tiny, astronaut):
    mesh = Mesh(MeshConfig(weights=str(tiny), min_score=0), context())
    with torch.inference_mode():
        faces = mesh(ImageBatch((astronaut,), ("",)), Faces.of([0], [FACE]))
    assert torch.isfinite(faces.pose).all() and faces.landmarks["mesh"].shape == (1, 468, 3)


@pytest.mark.parametrize(("drop", "named"), [("out.", "out.weight"), ("head.", "head model")])
def test_other_weights_are_refused(tiny, drop, named):
    save_file({n: t for n, t in load_file(tiny).items() if not n.startswith(drop)}, tiny)
    with pytest.raises(WeightsError, match=named):
        Mesh(MeshConfig(weights=str(tiny)), context())


def test_a_recipe_names_the_pose_of_every_face(astronaut):
    fer = ferkit.pipeline("default", {"pose": {"use": "mesh"}, "detector.threads": 1})
    found = fer(astronaut.permute(1, 2, 0).numpy())
    assert len(found) == 1 and abs(found[0].pose.yaw) < 25
    assert 0.5 < found[0].pose_score <= 1 and found.to_dicts()[0]["pose_score"] == found[0].pose_score


@pytest.mark.parametrize("columns", [slice(225, None), slice(0, 225)])
def test_a_face_cut_by_the_pictures_border_has_no_pose(astronaut, columns):
    [half] = ferkit.pipeline("default")(astronaut[:, :, columns].permute(1, 2, 0).contiguous().numpy())
    assert half.flags == ("no_pose",)
    assert np.isnan(half.pose.yaw) and 0 <= half.pose_score < 0.3
