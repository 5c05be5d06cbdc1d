import pytest
import torch
from face_alignment.detection.sfd import FaceDetector as SfdDetector
from torch.nn import functional as F

from ferkit import ImageBatch
from ferkit_face_alignment.files import BACKENDS


def photo(height, width, *spots):
    """Black, with white spots: x, y, side."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for x, y, side in spots:
        image[:, y : y + side, x : x + side] = 255
    return image


def batch(*images):
    return ImageBatch(images, tuple(f"image {index}" for index in range(len(images))))


def test_sfd_finds_every_face_where_it_is(detector):
    faces = detector()(batch(photo(64, 96, (60, 20, 4), (12, 44, 4)), photo(32, 32), photo(64, 40, (20, 20, 4))))
    assert faces.image_index.tolist() == [0, 0, 2]
    expected = torch.tensor([[6.0, 38, 22, 54], [54, 14, 70, 30], [14, 14, 30, 30]])
    torch.testing.assert_close(faces.boxes, expected, atol=0.5, rtol=0)
    assert (faces.scores > 0.9).all() and not faces.landmarks and not faces.is_crop.any()


def test_sfd_gives_what_the_library_gives(detector, folder):
    image = photo(64, 96, (60, 20, 4), (12, 44, 4))
    library = SfdDetector("cpu", path_to_detector=str(folder / BACKENDS["sfd"][0]))
    theirs = torch.tensor(sorted(map(list, library.detect_from_image(image.permute(1, 2, 0).numpy()))))
    ours = detector()(batch(image))
    torch.testing.assert_close(torch.cat([ours.boxes, ours.scores[:, None]], 1), theirs.float(), atol=1e-3, rtol=0)


def test_a_large_photo_is_reduced_and_boxes_are_in_its_own_pixels(detector):
    large = F.interpolate(photo(64, 96, (60, 20, 4))[None], scale_factor=4)[0]
    boxes = detector(size=96)(batch(large)).boxes
    torch.testing.assert_close(boxes, torch.tensor([[216.0, 56, 280, 120]]), atol=4, rtol=0)


@pytest.mark.parametrize(("backend", "cell"), [("blazeface", 8), ("blazeface-back", 16)])
def test_blazeface_sees_all_of_a_photo_that_is_no_square(detector, backend, cell):
    side = 16 * cell  # of what the network sees
    wide = photo(side // 2, side, (cell, cell, cell), (14 * cell, 5 * cell, cell))
    faces = detector(backend)(batch(wide, wide.mT.contiguous(), photo(side, side)))
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 / cell
    left, right = torch.tensor([1.5, 1.5]), torch.tensor([14.5, 5.5])
    torch.testing.assert_close(centres, torch.stack([left, right, left, right.flip(0)]), atol=0.3, rtol=0)
    assert faces.image_index.tolist() == [0, 0, 1, 1]
    assert (faces.scores > 0.9).all() and not faces.landmarks


@pytest.mark.parametrize("backend", BACKENDS)
def test_boxes_lie_in_photos_of_any_size(detector, backend):
    build, found = detector(backend, size=64), []
    for height, width in ((1, 1), (31, 33), (49, 49), (1, 300), (300, 2)):
        boxes = build(batch(torch.full((3, height, width), 255, dtype=torch.uint8))).boxes
        assert (boxes >= 0).all() and (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        found.append(len(boxes) > 0)
    assert all(found[:3])  # strips may be too thin to be seen


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_photo_and_no_face(detector, backend):
    build = detector(backend)
    assert len(build(batch())) == 0
    grey = torch.full((3, 80, 50), 90, dtype=torch.uint8)
    assert len(build(batch(photo(40, 40), grey))) == 0


@pytest.mark.parametrize("backend", ["sfd", "blazeface"])
def test_min_score_decides_what_is_a_face(detector, backend):
    image = photo(64, 64, (24, 24, 8))
    score = float(detector(backend)(batch(image)).scores.max())
    assert len(detector(backend, min_score=score - 0.001)(batch(image)))
    assert len(detector(backend, min_score=min(1.0, score + 0.001))(batch(image))) == 0
