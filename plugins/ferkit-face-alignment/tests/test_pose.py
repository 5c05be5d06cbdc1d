import face_alignment
import pytest
import torch
from face_alignment import utils
from face_alignment.models import FAN as Network

from ferkit import Faces, ImageBatch
from ferkit.alignment import align_faces
from ferkit.generic_head import SIXTY_EIGHT
from ferkit.geometry import angles_to_rotation
from ferkit.recipe_model import Align
from ferkit_face_alignment.files import FAN


def batch(*images):
    return ImageBatch(images, tuple(f"image {index}" for index in range(len(images))))


def painted(colours, yaw=0.0, pitch=0.0, roll=0.0, side=256):
    """A head as 68 coloured cells of a 64 x 64 grid, its box, and the landmarks: what a 2 x larger square shows."""
    head = torch.tensor(SIXTY_EIGHT)
    turned = (angles_to_rotation(torch.tensor([yaw, pitch, roll])) @ (head - head.mean(0)).T).T[:, :2]
    cells = (15 * turned + 32).floor().long()
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, cells[:, 1], cells[:, 0]] = colours.T
    cell = side // 64
    image = image.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    half, middle = side / 4, side / 2
    down = 0.12 * 2 * half  # the network's square lies higher than the box
    box = [middle - half, middle + down - half, middle + half, middle + down + half]
    return image, box, (cells + 0.5) * cell


# Cells of 1/15 of the distance between the eyes leave some degrees of error.
@pytest.mark.parametrize("angles", [(30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, 0, -20)])
def test_landmarks_and_pose_of_a_painted_head(estimator, colours, angles):
    image, box, points = painted(colours, *map(float, angles))
    faces = estimator(scale=2)(batch(image), Faces.of([0], [box], scores=[0.7]))
    torch.testing.assert_close(faces.landmarks["68"][0], points, atol=1.01, rtol=0)  # the library's crop is a pixel off
    torch.testing.assert_close(faces.pose[0], torch.tensor(angles).float(), atol=5, rtol=0)
    assert 0.5 < faces.pose_score[0] <= 1
    assert faces.scores.tolist() == pytest.approx([0.7])


def test_a_face_is_found_wherever_its_box_is_and_aligned_by_its_landmarks(estimator, colours):
    image, box, points = painted(colours, side=512)
    scene = torch.zeros(3, 600, 700, dtype=torch.uint8)
    scene[:, 30:542, 100:612] = image
    faces = Faces.of([0], [[box[0] + 100, box[1] + 30, box[2] + 100, box[3] + 30]])
    found = estimator(scale=2)(batch(scene), faces)
    torch.testing.assert_close(found.landmarks["68"][0], points + torch.tensor([100.0, 30]), atol=2.01, rtol=0)
    by_landmarks = align_faces((scene,), found, Align(size=32))
    assert not torch.equal(by_landmarks, align_faces((scene,), faces, Align(size=32)))  # to_five takes the 68


def test_a_crop_is_a_face_as_large_as_its_picture(estimator, colours):
    canvas, _, points = painted(colours)
    picture, corner = canvas[:, 52:252, 28:228], torch.tensor([28.0, 52])
    crop = Faces.of([0], [[0.0, 0, 200, 200]], is_crop=True)
    found = estimator(scale=1.28)(batch(picture), crop)  # the network sees the canvas again
    torch.testing.assert_close(found.landmarks["68"][0], points - corner, atol=1.01, rtol=0)
    assert found.is_crop.tolist() == [True]


def test_faces_it_can_not_see_keep_what_they_had(estimator, colours):
    image, box, _ = painted(colours)
    outside, tiny = [300.0, 300, 400, 400], [10.0, 10, 13, 13]
    known = torch.tensor([[1.0, 2, 3]] * 3)
    faces = Faces.of([0, 0, 0], [box, outside, tiny], pose=known, pose_score=torch.ones(3))
    found = estimator(scale=2)(batch(image), faces)
    assert torch.equal(found.pose[1:], known[1:]) and not torch.equal(found.pose[0], known[0])
    assert torch.isfinite(found.landmarks["68"]).all(-1).all(-1).tolist() == [True, False, False]


def test_a_picture_without_a_head_scores_low(estimator):
    grey = torch.full((3, 80, 80), 40, dtype=torch.uint8)
    found = estimator()(batch(grey), Faces.of([0], [[10.0, 10, 70, 70]]))
    assert torch.isfinite(found.landmarks["68"]).all()
    assert not found.pose_score[0] > 0.3


@pytest.fixture
def no_compiler(monkeypatch):
    """The library's functions as they are written: numba would compile them for most of a minute."""
    for name in ("transform_np", "_get_preds_fromhm"):
        monkeypatch.setattr(utils, name, getattr(utils, name).py_func)


def test_landmarks_are_the_librarys_but_for_its_rounding(estimator, tmp_path, options_for, monkeypatch, no_compiler):
    torch.manual_seed(0)
    network = Network(1).eval()
    torch.save(network.state_dict(), tmp_path / FAN)
    # of its own it loads four hourglasses only
    monkeypatch.setattr(face_alignment.FaceAlignment, "_load_native", lambda *_: network)
    library = face_alignment.FaceAlignment(
        face_alignment.LandmarksType.TWO_D, device="cpu", face_detector="folder", compile=False
    )
    image = torch.randint(0, 256, (3, 400, 300), dtype=torch.uint8)
    box = [40.0, 90.0, 220.0, 330.0]
    theirs = library.get_landmarks_from_image(image.permute(1, 2, 0).numpy(), [[*box, 1.0]])[0]
    options = {"scale": 400 / 195, "flip": True, **options_for(tmp_path, [FAN])}
    ours = estimator(**options)(batch(image), Faces.of([0], [box])).landmarks["68"][0]
    rounded = ours.abs() - torch.from_numpy(theirs).abs()  # they cut off the fraction
    assert rounded.min() > -0.01 and rounded.max() < 1.01
