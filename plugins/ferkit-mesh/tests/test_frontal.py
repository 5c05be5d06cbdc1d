from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from mesh_faces import FACE, turned

import ferkit
from ferkit import Faces, ImageBatch
from ferkit.alignment import align_faces
from ferkit.geometry import FACE_TEMPLATE
from ferkit.recipe_model import Align
from ferkit_mesh import FrontalConfig
from ferkit_mesh.frontal import frontalize


def known(picture, points):
    """A picture whose face has these landmarks."""
    faces = Faces.of([0], [[0, 0, picture.shape[2], picture.shape[1]]], landmarks={"mesh": torch.tensor(points)[None]})
    return ImageBatch((picture,), ("array",)), faces


def likeness(a, b):
    """Correlation of two pictures' inner parts."""
    inner = (slice(None), slice(40, 130), slice(45, 125))
    return np.corrcoef(a[inner].float().flatten(), b[inner].float().flatten())[0, 1]


@pytest.mark.parametrize("yaw", [-60.0, -35.0, 35.0, 60.0])
def test_a_turned_face_is_brought_back(estimate, frontal, head, astronaut, yaw):
    normalizer = frontal()
    posed = estimate(astronaut, FACE)
    plain = normalizer(ImageBatch((astronaut,), ("",)), posed)[0].image
    picture, box, points = turned(estimate, head, astronaut, yaw)
    back = normalizer(*known(picture, points))[0]
    assert back.image.shape == (3, 168, 168)
    as_it_was = align_faces((picture,), Faces.of([0], [box]), Align(method="box", margin=0.25, size=168))[0]
    assert likeness(back.image, plain) > likeness(as_it_was, plain) + 0.2
    again = estimate(back.image, (28.0, 28.0, 140.0, 140.0))
    assert abs(float(again.pose[0, 0])) < abs(yaw) / 3
    assert 0 < back.score <= 1


def test_it_is_framed_as_alignment_frames_a_face(estimate, frontal, astronaut):
    result = frontal(margin=0.0)(ImageBatch((astronaut,), ("",)), estimate(astronaut, FACE))[0]
    assert (result.landmarks / 112 - FACE_TEMPLATE).abs().max() < 0.08


def test_of_a_crop_the_view_is_framed_as_the_crop_of_a_data_set(estimate, frontal, head, astronaut):
    """No margin comes in between data set and recognizer."""
    picture, box, points = turned(estimate, head, astronaut, 50.0)
    batch, faces = known(picture, points)
    crop = replace(faces, is_crop=torch.tensor([True]))
    result, without = frontal()(batch, crop)[0], frontal(margin=0.0)(batch, faces)[0]
    assert result.image.shape == (3, 112, 112)
    assert (result.image == without.image).all()
    recipe = {
        "detector": {"use": "given"},
        "normalizer": {"use": "mesh-frontal", "above_yaw": 30},
        "pose": {"use": "mesh"},
    }
    fer = ferkit.pipeline("default", {**recipe, "align.size": 112})
    x0, y0, x1, y1 = (int(corner) for corner in box)
    cut = ImageBatch((picture[:, y0:y1, x0:x1].contiguous(),), ("",))
    views, _ = fer.views(cut, fer.crops(cut, Faces.of([0], [[0, 0, x1 - x0, y1 - y0]], is_crop=True)))
    assert views.view == ("frontal",)
    eyes = estimate(views.pixels[0].mul(255).byte(), (0.0, 0.0, 112.0, 112.0)).landmarks["mesh"][0][[33, 263], 0]
    assert float(eyes[1] - eyes[0]) > 45, "the face fills the view"


def test_a_crop_whose_pose_the_data_knows_is_turned_all_the_same(estimate, head, astronaut):
    """The pose is the data's; the mesh is not in it."""
    picture, box, _ = turned(estimate, head, astronaut, 50.0)
    x0, y0, x1, y1 = (int(corner) for corner in box)
    recipe = {"normalizer": {"use": "mesh-frontal", "above_yaw": 30}, "pose": {"use": "mesh"}}
    fer = ferkit.pipeline("default", recipe)
    batch = ImageBatch((picture[:, y0:y1, x0:x1].contiguous(),), ("",))
    known = Faces.of([0], [[0, 0, x1 - x0, y1 - y0]], is_crop=True, pose=torch.tensor([[50.0, 0.0, 0.0]]))
    faces = fer.crops(batch, known)
    assert faces.pose.tolist() == [[50.0, 0.0, 0.0]]
    views, flags = fer.views(batch, faces)
    assert (views.view, flags) == (("frontal",), ((),))


def marked(points, picture, corner, colour):
    """A spot on a cheek."""
    x, y = points[corner, :2].astype(int)
    picture = picture.copy()
    picture[y - 5 : y + 6, x - 5 : x + 6] = colour
    return picture


RIGHT_CHEEK, LEFT_CHEEK = 425, 205  # on the image's right and left
GREEN = (0, 255, 0)


def at(rendered, corner):
    x, y = rendered.points[corner, :2].astype(int)
    return rendered.picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)


def test_where_both_halves_are_seen_nothing_is_made_symmetric(estimate, head, astronaut):
    points = estimate(astronaut, FACE).landmarks["mesh"][0].numpy()
    picture = marked(points, astronaut.permute(1, 2, 0).contiguous().numpy(), LEFT_CHEEK, GREEN)
    rendered = frontalize(picture, points, head, FrontalConfig())
    assert at(rendered, LEFT_CHEEK)[1] > at(rendered, LEFT_CHEEK)[0] + 100
    assert at(rendered, RIGHT_CHEEK)[1] < at(rendered, RIGHT_CHEEK)[0] + 20


@pytest.mark.parametrize(("yaw", "far", "near"), [(-30.0, 61, 291), (30.0, 291, 61)])
def test_the_far_corner_of_the_mouth_stays_the_persons_own_while_it_is_seen(estimate, head, astronaut, yaw, far, near):
    picture, _, points = turned(estimate, head, astronaut, yaw)
    rendered = frontalize(
        marked(points, picture.permute(1, 2, 0).contiguous().numpy(), far, GREEN), points, head, FrontalConfig()
    )
    assert at(rendered, far)[1] > at(rendered, far)[0] + 60
    assert at(rendered, near)[1] < at(rendered, near)[0] + 20


@pytest.mark.parametrize("mirror", [True, False])
def test_the_hidden_half_is_the_mirrored_one_if_that_is_wanted(estimate, head, astronaut, mirror):
    picture, _, points = turned(estimate, head, astronaut, 70.0)  # the image's left cheek is seen
    picture = marked(points, picture.permute(1, 2, 0).contiguous().numpy(), LEFT_CHEEK, (0, 255, 0))
    rendered = frontalize(picture, points, head, FrontalConfig(mirror=mirror))
    seen, hidden = at(rendered, LEFT_CHEEK), at(rendered, RIGHT_CHEEK)
    assert seen[1] > seen[0] + 100
    assert (hidden[1] > hidden[0] + 100) == mirror


@pytest.mark.parametrize("yaw", [-45.0, 45.0])
def test_what_lies_behind_the_outline_is_not_drawn_onto_the_face(estimate, head, astronaut, yaw):
    """No estimate is exact: here all landmarks lie a few pixels too far out."""
    picture, box, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(points[:, :2].round().astype(np.int32)), 1)
    picture[inside == 0] = GREEN
    points = points + np.float32([np.sign(yaw) * 0.03 * (box[2] - box[0]), 0, 0])
    rendered = frontalize(picture, points, head, FrontalConfig())
    marks = rendered.points[:, :2].astype(int)
    red, green, _ = (
        rendered.picture[marks[168, 1] : marks[17, 1], marks[33, 0] : marks[263, 0]].reshape(-1, 3).T.astype(int)
    )
    assert (green > red).mean() < 0.01, "from the eyes' outer corners to the lower lip"


@pytest.mark.parametrize("yaw", [-60.0, -50.0, 50.0, 60.0])
@pytest.mark.parametrize(("off", "last", "share"), [(0.11, 2, 0.01), (0.07, 17, 0.05)])
def test_what_lies_behind_a_face_is_not_drawn_onto_its_nose(estimate, head, astronaut, yaw, off, last, share):
    """The middle line lies on the outline, and no mirror replaces it: here all landmarks lie too far out."""
    picture, box, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    picture[(picture == 0).all(2)] = GREEN
    points = points + np.float32([np.sign(yaw) * off * (box[2] - box[0]), 0, 0])
    rendered = frontalize(picture, points, head, FrontalConfig())
    marks = rendered.points[:, :2].astype(int)
    line = rendered.picture[marks[168, 1] : marks[last, 1], marks[168, 0] - 8 : marks[168, 0] + 9]
    red, green, _ = line.reshape(-1, 3).T.astype(int)
    assert (green > red).mean() <= share, "from between the eyes to below the nose, or to the lower lip"


@pytest.mark.parametrize("yaw", [-45.0, 45.0])
@pytest.mark.parametrize(("first", "last"), [(10, 151), (200, 152)])
def test_what_lies_behind_a_face_is_not_drawn_onto_forehead_and_chin(estimate, head, astronaut, yaw, first, last):
    """As of a face that is turned further than its mesh says: all beyond the middle line is background."""
    picture, _, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    far = np.sign(yaw) * (np.arange(picture.shape[1]) - points[[10, 152], 0].mean()) > 0
    picture[:, far] = GREEN
    rendered = frontalize(picture, points, head, FrontalConfig())
    marks = rendered.points[:, :2].astype(int)
    line = rendered.picture[marks[first, 1] : marks[last, 1], marks[168, 0] - 4 : marks[168, 0] + 5]
    red, green, _ = line.reshape(-1, 3).T.astype(int)
    assert (green > red).mean() <= 0.2, "without looking off the middle line it is 0.6 and more"


@pytest.mark.parametrize("yaw", [-66.0, 66.0])
@pytest.mark.parametrize("landmark", [151, 17, 200])
def test_in_profile_forehead_lips_and_chin_are_looked_up_where_they_are(estimate, head, astronaut, yaw, landmark):
    picture, _, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    spotted = frontalize(marked(points, picture, landmark, GREEN), points, head, FrontalConfig())
    red, green, _ = at(spotted, landmark)
    assert green > red + 60


@pytest.mark.parametrize(
    ("yaw", "landmark", "least", "most"),
    [(45.0, 0, 0.03, 0.06), (45.0, 200, 0.08, 0.11), (66.0, 0, -0.02, 0.02), (66.0, 200, -0.02, 0.02)],
)
def test_lips_and_chin_are_looked_up_off_the_middle_line_but_in_profile(
    estimate, head, astronaut, yaw, landmark, least, most
):
    """A ramp tells where a pixel is from; so slight that no end of the face is seen in it."""
    offs = []
    for sign in (-1, 1):
        picture, _, points = turned(estimate, head, astronaut, sign * yaw)
        side, (_, _, scale) = picture.shape[-1], head.rotation(points)
        ramp = np.tile(np.linspace(100, 140, side).round().astype(np.uint8)[None, :, None], (side, 1, 3))
        x = (at(frontalize(ramp, points, head, FrontalConfig()), landmark)[0] - 100) / 40 * (side - 1)
        offs.append(sign * (points[landmark, 0] - x) / scale)
    assert least <= np.mean(offs) <= most


@pytest.mark.parametrize("yaw", [-55.0, 55.0])
def test_the_mesh_leaves_no_jags_beside_the_nose(estimate, head, astronaut, yaw):
    """Of a picture that is nothing but a ramp the frontal view has no corners where triangles meet."""
    picture, _, points = turned(estimate, head, astronaut, yaw)
    side = picture.shape[-1]
    ramp = np.tile(np.linspace(0, 255, side).round().astype(np.uint8)[None, :, None], (side, 1, 3))
    drawn = frontalize(ramp, points, head, FrontalConfig())
    x, y = drawn.points[48 if yaw > 0 else 278, :2].astype(int)  # the near wing of the nose
    wing = drawn.picture[y - 12 : y + 13, x - 12 : x + 13, 0].astype(float)
    assert np.abs(wing[2:] - 2 * wing[1:-1] + wing[:-2]).max() <= 3


def test_confidence_is_lower_where_the_camera_saw_nothing(estimate, head, astronaut):
    picture, _, points = turned(estimate, head, astronaut, 60.0)
    rendered = frontalize(picture.permute(1, 2, 0).contiguous().numpy(), points, head, FrontalConfig(mirror=False))
    assert rendered.confidence.min() >= 0 and rendered.confidence.max() <= 1
    middle = rendered.confidence.shape[1] // 2
    assert rendered.confidence[60:110, 30:middle].mean() > rendered.confidence[60:110, middle:-30].mean() + 0.2
    assert (rendered.confidence[:, 0] == 0).all()


def test_faces_without_a_mesh_are_not_turned(frontal, astronaut):
    batch = ImageBatch((astronaut,), ("",))
    assert frontal()(batch, Faces.of([0, 0], [FACE, FACE])) == [None, None]
    unknown = {"mesh": torch.full((1, 468, 3), torch.nan)}
    assert frontal()(batch, Faces.of([0], [FACE], landmarks=unknown)) == [None]
    same = {"mesh": torch.zeros(1, 468, 3)}
    assert frontal()(batch, Faces.of([0], [FACE], landmarks=same)) == [None]


@pytest.mark.parametrize("shape", [(468, 2), (68, 3)])
def test_landmarks_of_another_mesh_are_refused(frontal, astronaut, shape):
    faces = Faces.of([0], [FACE], landmarks={"mesh": torch.zeros(1, *shape)})
    with pytest.raises(ferkit.FerkitError, match="468 landmarks in 3D"):
        frontal()(ImageBatch((astronaut,), ("",)), faces)


def test_landmarks_outside_the_picture_are_no_sight_of_a_face(frontal, estimate, astronaut):
    points = estimate(astronaut, FACE).landmarks["mesh"][0].numpy()
    there, half, outside = (
        frontal()(*known(astronaut, points + np.float32([x, 0, 0])))[0].score for x in (0, 512 - 225, 2000)
    )
    assert outside == 0 < half < 0.7 * there


def test_a_face_half_outside_its_picture_is_not_drawn_however_sure_its_landmarks(estimate, frontal, astronaut):
    half = astronaut[:, :, 225:].contiguous()
    faces = estimate(half, (-55.0, 55.0, 55.0, 185.0))
    batch = ImageBatch((half,), ("",))
    assert frontal(min_score=0)(batch, faces) == [None]


@pytest.mark.parametrize("yaw", [-50.0, 50.0])
@pytest.mark.parametrize(("share", "is_crop", "drawn"), [(0.1, False, False), (0.1, True, True), (0.02, False, True)])
def test_a_face_whose_profile_the_border_cuts_is_not_drawn(
    estimate, head, frontal, astronaut, yaw, share, is_crop, drawn
):
    """The mesh is the true one; what an estimator makes of such a picture is as sure, and squeezed into what is left."""
    picture, box, points = turned(estimate, head, astronaut, yaw)
    off = round(share * (box[2] - box[0]))
    cut = picture[:, :, : round(box[2]) - off] if yaw > 0 else picture[:, :, round(box[0]) + off :]
    points = points - np.float32([0 if yaw > 0 else round(box[0]) + off, 0, 0])
    batch, faces = known(cut.contiguous(), points)
    faces = replace(faces, pose=torch.tensor([[yaw, 0, 0]]), is_crop=torch.tensor([is_crop]))
    assert (frontal()(batch, faces)[0] is not None) == drawn


@pytest.mark.parametrize(("yaw", "least"), [(0.0, 0.75), (-40.0, 0.75), (60.0, 0.61), (-75.0, 0.505), (np.nan, 0.75)])
def test_landmarks_less_sure_than_the_yaw_explains_are_not_drawn_by(estimate, frontal, astronaut, yaw, least):
    face = estimate(astronaut, FACE)
    pose = torch.tensor([[yaw, 0.0, 0.0]])
    unsure, sure = (replace(face, pose=pose, pose_score=torch.tensor([least + by])) for by in (-0.01, 0.01))
    batch = ImageBatch((astronaut,), ("",))
    assert frontal()(batch, unsure) == [None]
    assert frontal()(batch, sure)[0].score > 0


def test_a_recipe_turns_faces_beyond_its_gate(estimate, head, astronaut):
    picture, _, _ = turned(estimate, head, astronaut, 50.0)
    overrides = {
        "detector": {"use": "whole-image"},
        "pose": {"use": "mesh"},
        "normalizer": {"use": "mesh-frontal", "above_yaw": 25},
    }
    fer = ferkit.pipeline("default", overrides)
    results = fer.normalize([picture.permute(1, 2, 0).numpy(), astronaut[:, 40:200, 150:310].permute(1, 2, 0).numpy()])
    there, frontal = (result.faces[0] for result in results)
    assert there.decision == "turned" and frontal.decision == "not_turned"
    assert abs(there.pose.yaw - 50) < 15


@pytest.mark.parametrize(("change", "decision"), [({}, "turned"), ({"normalizer.accept.max_yaw": 0}, "rejected:yaw")])
def test_the_recipe_frontal_measures_what_was_drawn(estimate, head, astronaut, change, decision):
    picture, _, _ = turned(estimate, head, astronaut, 50.0)
    fer = ferkit.pipeline("frontal", {"detector": {"use": "whole-image"}, **change})
    [result] = fer.normalize([picture.permute(1, 2, 0).numpy()])
    assert result.faces[0].decision == decision


def test_where_the_recipe_frontal_draws_nothing_the_aligned_view_stands_in(estimate, head, astronaut):
    picture, _, _ = turned(estimate, head, astronaut, 50.0)
    fer = ferkit.pipeline("frontal", {"detector": {"use": "whole-image"}, "normalizer.min_score": 1.0})
    plain = ferkit.pipeline("default", {"detector": {"use": "whole-image"}})([picture.permute(1, 2, 0).numpy()])
    [result] = fer.normalize([picture.permute(1, 2, 0).numpy()])
    [prediction] = fer([picture.permute(1, 2, 0).numpy()])
    assert result.faces[0].decision == "failed"
    assert prediction.label and "edit_failed" in prediction.flags
    assert prediction.probabilities == pytest.approx(plain[0].probabilities, abs=1e-4)


@pytest.mark.parametrize(("yaw", "far", "near"), [(-36.0, 107, 336), (36.0, 336, 107)])
def test_of_a_face_turned_far_the_far_half_is_not_looked_at(estimate, head, astronaut, yaw, far, near):
    """Patches of it would meet those of the near one along the nose."""
    picture, _, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    plain, spotted = (
        frontalize(each, points, head, FrontalConfig()) for each in (picture, marked(points, picture, far, GREEN))
    )
    for corner in (far, near):  # inner ends of the brows
        assert np.abs(at(spotted, corner) - at(plain, corner)).max() < 40


@pytest.mark.parametrize("yaw", [-55.0, -35.0, 35.0, 55.0])
@pytest.mark.parametrize("roll", [-40.0, 40.0])
def test_turning_the_picture_in_its_plane_changes_nothing(estimate, head, astronaut, yaw, roll):
    picture, _, points = turned(estimate, head, astronaut, yaw)
    picture = picture.permute(1, 2, 0).contiguous().numpy()
    matrix = cv2.getRotationMatrix2D((79.5, 79.5), roll, 1.0)
    rolled = cv2.warpAffine(picture, matrix, (160, 160), borderMode=cv2.BORDER_REPLICATE)
    moved = points.copy()
    moved[:, :2] = (points[:, :2] - 80) @ matrix[:, :2].T.astype(np.float32) + 80
    plain, again = (frontalize(image, p, head, FrontalConfig()) for image, p in ((picture, points), (rolled, moved)))
    inner = np.minimum(plain.confidence, again.confidence) > 0.3
    assert np.abs(plain.picture.astype(int) - again.picture)[inner].mean() < 4
    nose = np.s_[plain.points[168, 1].astype(int) : plain.points[2, 1].astype(int), 74:94]
    assert np.abs(plain.picture.astype(int) - again.picture)[nose].mean() < 1.5
