import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from ferkit import ImageBatch

SOLVAY = json.loads((Path(__file__).parent / "solvay_1927.json").read_text())["boxes"]
FACE = slice(50, 180), slice(165, 285)  # rows and columns of the astronaut's face
# Of the astronaut, by eye: left eye in the image, right eye, tip of the nose, corners of the mouth.
LANDMARKS = [[204.5, 100.5], [246, 103], [224.5, 126], [202.5, 139], [245, 140]]


def batch(*images):
    return ImageBatch(images, ("array",) * len(images))


def resized(image, height, width):
    return interpolate(image[None], size=(height, width), mode="bilinear", antialias=True)[0]


def iou(a, b):
    """``[N, M]`` for boxes ``[N, 4]`` and ``[M, 4]``."""
    overlap = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    shared = overlap.clamp(min=0).prod(2)
    return shared / ((a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1) - shared)


def test_finds_each_of_the_29_faces_of_the_solvay_photo_once(find, solvay):
    faces = find(solvay)
    overlap = iou(torch.tensor(SOLVAY, dtype=torch.float32), faces.boxes) >= 0.5
    assert len(SOLVAY) == 29
    assert overlap.sum(1).tolist() == [1] * 29  # each annotated face has one box
    assert overlap.sum(0).tolist() == [1] * len(faces)  # and each box a face


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (512, 512), (256, 256), (300, 500), (127, 127)])
def test_finds_one_face_in_pixels_of_the_photo_at_any_size(find, astronaut, height, width):
    faces = find(resized(astronaut, height, width))
    scale = torch.tensor([width, height]) / 512
    assert len(faces) == 1
    expected = torch.tensor([[178.0, 57, 273, 177]]) * scale.repeat(2)
    assert iou(faces.boxes, expected).item() > 0.7
    error = (faces.landmarks["5"][0] / scale - torch.tensor(LANDMARKS)).norm(dim=1)
    assert error.max() < 10.5  # pixels of the 512: a quarter of the distance between the eyes


def test_left_and_right_are_those_of_the_image(find, astronaut):
    points, mirrored = find(astronaut).landmarks["5"][0], find(astronaut.flip(2)).landmarks["5"][0]
    back = mirrored[[1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([512.0, 0.0])
    assert (back - points).abs().max() < 5
    assert points[0, 0] < points[1, 0]


@pytest.mark.parametrize("size", [48, 32, 24])
def test_finds_a_face_that_fills_a_tiny_photo(find, astronaut, size):
    faces = find(resized(astronaut[:, *FACE], size, size))
    assert len(faces) == 1
    assert (faces.boxes[0, 2:] - faces.boxes[0, :2]).min() > size / 2


def test_a_grey_photo_will_do(find, astronaut):
    grey = astronaut.float().mean(0).to(torch.uint8).expand(3, -1, -1)
    assert iou(find(grey).boxes, find(astronaut).boxes).tolist() == [[pytest.approx(1, abs=0.15)]]


def test_finds_a_hundred_faces_in_one_photo_and_none_twice(find, astronaut):
    tile = resized(astronaut[:, 20:200, 140:320], 128, 128)
    faces = find(tile.repeat(1, 10, 10))
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    cells = (centres / 128).long()
    assert len(faces) == 100
    assert len(set(map(tuple, cells.tolist()))) == 100


@pytest.mark.parametrize(
    ("rows", "columns"), [(slice(None), slice(200, 512)), (slice(0, 150), slice(None)), (slice(0, 165), slice(0, 260))]
)
def test_the_box_of_a_face_cut_by_the_border_ends_there(find, astronaut, rows, columns):
    image = astronaut[:, rows, columns]
    faces = find(image)
    height, width = image.shape[1:]
    assert len(faces) == 1
    assert faces.boxes.min() >= 0
    assert (faces.boxes[0, 2:] <= torch.tensor([width, height])).all()
    assert 0 in faces.boxes[0, :2] or faces.boxes[0, 2] == width or faces.boxes[0, 3] == height


def test_finds_faces_in_a_very_wide_panorama(find, astronaut):
    image = torch.full((3, 100, 4000), 200, dtype=torch.uint8)
    for x in (0, 1700, 3900):
        image[:, :, x : x + 100] = resized(astronaut[:, 20:200, 140:320], 100, 100)
    faces = find(image)
    assert sorted((faces.boxes[:, 0] // 100 * 100).tolist()) == [0, 1700, 3900]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (48, 48), (7, 33)])
def test_a_photo_without_a_face_has_none(find, height, width):
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    faces = find(image)
    assert len(faces) == 0
    assert faces.landmarks["5"].shape == (0, 5, 2)


@pytest.fixture(scope="session")
def tiny(astronaut):
    """A face of 10 pixels, which is found only at twice the size, and its box."""
    photo = torch.full((3, 200, 300), 128, dtype=torch.uint8)
    photo[:, 20:64, 30:74] = resized(astronaut, 44, 44)
    return photo, torch.tensor([[45.3, 24.9, 53.5, 35.2]])


def test_a_photo_in_which_nothing_is_found_is_searched_again_larger(build, find, tiny):
    photo, box = tiny
    assert len(build(second_look=False)(batch(photo))) == 0
    assert iou(find(photo).boxes, box).item() > 0.5


@pytest.mark.parametrize(("size", "found"), [(300, 0), (370, 0), (599, 1), (600, 1)])
def test_the_second_look_is_bounded_by_size(build, tiny, size, found):
    assert len(build(size=size)(batch(tiny[0]))) == found


@pytest.mark.parametrize("batch_size", [1, 4])
def test_first_and_second_looks_mix_in_a_batch(build, find, astronaut, tiny, batch_size):
    empty = torch.zeros(3, 200, 300, dtype=torch.uint8)
    images = (empty, tiny[0], resized(astronaut, 200, 300), tiny[0].flip(2), empty)
    together = build(batch_size=batch_size)(batch(*images))
    assert together.image_index.tolist() == [1, 2, 3]
    alone = torch.cat([find(image).boxes for image in images])
    torch.testing.assert_close(together.boxes, alone, rtol=1e-4, atol=1e-3)


def test_a_photo_in_which_a_face_is_found_is_searched_once(build, astronaut):
    once, twice = (build(second_look=look)(batch(astronaut)) for look in (False, True))
    assert torch.equal(once.boxes, twice.boxes)


def test_no_photo_no_face(find):
    faces = find()
    assert len(faces) == 0
    assert faces.landmarks["5"].shape == (0, 5, 2)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_batch_gives_the_same_as_its_photos_alone(build, find, astronaut, batch_size):
    images = (
        astronaut,
        torch.zeros(3, 512, 512, dtype=torch.uint8),
        resized(astronaut, 300, 500),
        astronaut.flip(2)[:, :500, :490],  # on the canvas of the first, smaller
        torch.zeros(3, 1, 1, dtype=torch.uint8),
        resized(astronaut[:, *FACE], 48, 48),
    )
    together = build(batch_size=batch_size)(batch(*images))
    assert together.image_index.tolist() == [0, 2, 3, 5]
    for index, image in enumerate(images):
        alone, among = find(image), together.select(together.image_index == index)
        for name in ("boxes", "scores"):
            torch.testing.assert_close(getattr(among, name), getattr(alone, name), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(among.landmarks["5"], alone.landmarks["5"], rtol=1e-4, atol=1e-3)


def test_padding_changes_nothing_of_weight(find, astronaut):
    whole, cut = find(astronaut[:, :480, :480]), find(astronaut[:, :465, :449])
    assert (whole.boxes - cut.boxes).abs().max() < 1
    assert (whole.landmarks["5"] - cut.landmarks["5"]).abs().max() < 1


def test_photos_are_not_changed(build, astronaut):
    images = (astronaut.clone(), resized(astronaut, 48, 64))
    copies = [image.clone() for image in images]
    build(size=256)(batch(*images))
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies, strict=True))


def test_options_do_what_they_say(build, solvay, astronaut):
    assert len(build(min_score=0.99)(batch(solvay))) < 29 < len(build(min_score=0.05)(batch(solvay)))
    assert len(build(nms=1)(batch(astronaut))) > 1
    assert len(build(size=320)(batch(solvay))) < 29  # faces of a dozen pixels
    assert len(build(min_score=0, threads=1)(batch(astronaut))) > 100


PEAK = """
import resource, sys, torch
from ferkit import Context, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.detector import RetinaFace

context = Context(torch.device("cpu"), torch.float32, 0, ("neutral",), WeightsStore())
detector = RetinaFace(RetinaFaceConfig(size=640), context)
random = torch.Generator().manual_seed(0)

def find(height, width):
    image = torch.zeros(height, width, 3, dtype=torch.uint8).permute(2, 0, 1)
    before = peak()
    detector(ImageBatch((image,), ("array",)))
    return peak() - before

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
"""


def megabytes(script):
    """What a script prints, run after ``PEAK`` in a process of its own."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK + script], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
def test_memory_stays_bounded_over_sizes_and_for_50_megapixels():
    """One process a case: a peak never falls."""
    grown = megabytes("""
for side in torch.randint(40, 640, (30, 2), generator=random).tolist() + [[640, 640]]:
    find(*side)
before = peak()
for side in torch.randint(40, 640, (100, 2), generator=random).tolist():
    find(*side)
print(peak() - before)
""")
    assert grown < 50
    assert megabytes("find(640, 640); print(find(6000, 8400))") < 100  # the photo itself has 151
