"""The pose of faces that fill their pictures."""

from pathlib import Path

import pytest
import torch

from ferkit import Faces
from ferkit.builtin.given import Given
from ferkit.builtin.landmark_pnp import LandmarkPnP
from ferkit.cache import Cache
from ferkit.components import Config
from ferkit.crop_pose import crop_pose
from ferkit.datasets.prepared import prepare
from ferkit.images import decode
from ferkit.interfaces import Context, Sample
from ferkit.recipe import load_recipe
from ferkit.testing import FACE_BOX, face_picture
from ferkit.types import ImageBatch
from ferkit.weights import WeightsStore
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.detector import RetinaFace

SOLVAY = Path(__file__).parent.parent / "examples" / "images" / "solvay_1927.jpg"


@pytest.fixture(scope="module")
def context():
    return Context(torch.device("cpu"), torch.float32, 0, ("neutral", "happiness"), WeightsStore())


@pytest.fixture(scope="module")
def detector(context):
    return RetinaFace(RetinaFaceConfig(), context)


@pytest.fixture(scope="module")
def pnp(context):
    return LandmarkPnP(Config(), context)


def crop():
    x0, y0, x1, y1 = map(int, FACE_BOX)
    return face_picture()[:, y0:y1, x0:x1]


def small():
    return torch.nn.functional.interpolate(crop()[None].float(), size=(48, 48), antialias=True, mode="bilinear")[
        0
    ].byte()


def test_the_pose_of_a_crop_is_that_in_the_photo(detector, pnp):
    """Of turned and of frontal faces in a group portrait, each cut to its box."""
    photo = decode(SOLVAY)
    batch = ImageBatch((photo,), ("solvay",))
    faces = pnp(batch, detector(batch))
    crops = [photo[:, y0:y1, x0:x1] for x0, y0, x1, y1 in faces.boxes.round().int().tolist()]
    angles, score = crop_pose(crops, detector, pnp)
    known = torch.isfinite(angles).all(1)
    assert known.float().mean() > 0.9
    assert torch.equal(known, torch.isfinite(score))
    turned = known & (faces.pose[:, 0].abs() > 10)
    assert int(turned.sum()) >= 3
    assert (angles[turned, 0].sign() == faces.pose[turned, 0].sign()).all()
    assert (angles[known, 0] - faces.pose[known, 0]).abs().median() < 5


def test_what_shows_no_face_has_no_pose(detector, pnp):
    grey = torch.full((3, 48, 48), 128, dtype=torch.uint8)
    angles, score = crop_pose([grey, crop(), grey[:, :1, :1]], detector, pnp)
    assert torch.isfinite(angles).all(1).tolist() == [False, True, False]
    assert torch.isfinite(score).tolist() == [False, True, False]
    angles, score = crop_pose([], detector, pnp)
    assert (angles.shape, score.shape) == ((0, 3), (0,))


def test_detectors_that_do_not_look(context, pnp):
    angles, score = crop_pose([crop()], Given(Config(), context), pnp)
    assert torch.isnan(angles).all()
    assert torch.isnan(score).all()


def test_of_several_faces_the_one_that_fills_the_crop_counts(pnp):
    def two(batch):
        (extent,) = batch.given[0].boxes.tolist()
        boxes = [[0.0, 0.0, 300.0, 12.0], extent]
        return Faces.of([0, 0], boxes, pose=torch.tensor([[70.0, 0, 0], [5.0, 1, 2]]))

    angles, _ = crop_pose([crop()], two)
    assert angles.tolist() == [[5, 1, 2]]


def test_prepared_crops_go_by_their_estimated_pose_never_by_the_data_s(tmp_path, context):
    from PIL import Image

    for name in ("a", "b"):
        Image.fromarray(crop().permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.png")
    samples = [
        Sample("a", str(tmp_path / "a.png"), "happiness"),
        Sample("b", str(tmp_path / "b.png"), "happiness", pose=(45.0, float("nan"), float("nan"))),
    ]
    prepared = prepare(samples, True, load_recipe("default"), context, Cache())
    yaw = prepared.faces.pose[:, 0].tolist()
    assert abs(yaw[0]) < 30
    assert yaw[1] == yaw[0], "what the data says of a pose is for the judge, not for the recipe"
    assert prepared.faces.is_crop.all()
    box = [0.0, 0.0, crop().shape[2], crop().shape[1]]
    assert prepared.faces.boxes.tolist() == [box, box], "the face is still the whole picture"
