import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ferkit.datasets import open_dataset
from ferkit.images import decode

USAGES = ("Training", "Training", "PublicTest", "PrivateTest")
EMOTIONS = (3, 6, 0, 1)


@pytest.fixture
def faces(picture, tmp_path):
    """uint8 ``[4, 48, 48]``: real faces, of which the first and the last are the same."""
    found = [np.asarray(Image.open(picture(tmp_path / "faces" / f"{n}.png"))) for n in range(3)]
    shutil.rmtree(tmp_path / "faces")
    return np.stack([*found, found[0]])


def text(faces, header="emotion,pixels,Usage", order=(0, 1, 2)):
    rows = []
    for values in zip(EMOTIONS, (" ".join(map(str, face.ravel())) for face in faces), USAGES, strict=True):
        rows.append(",".join(str(values[column]) for column in order))
    return "\n".join([header, *rows]) + "\n"


def samples(path, **options):
    dataset = open_dataset("fer2013", path=str(path), **options)
    return {split: list(dataset.samples(split)) for split in dataset.splits}


def test_the_table(faces, tmp_path):
    (tmp_path / "fer2013.csv").write_text(text(faces))
    found = samples(tmp_path / "fer2013.csv")
    labels = {split: [(sample.id, sample.label) for sample in each] for split, each in found.items()}
    assert labels == {
        "train": [("fer0000000", "happiness"), ("fer0000001", "neutral")],
        "validation": [("fer0000002", "anger")],
        "test": [("fer0000003", "disgust")],
    }
    every = [sample for each in found.values() for sample in each]
    for sample, face in zip(every, faces, strict=True):
        assert torch.equal(decode(sample.picture), torch.tensor(face).expand(3, 48, 48))
    assert every[0].group == every[3].group
    assert len({sample.group for sample in every}) == 3
    assert open_dataset("fer2013", path=str(tmp_path)).is_crop


def test_tables_in_circulation(faces, tmp_path):
    (tmp_path / "fer2013.csv").write_text(text(faces))
    expected = {split: [(s.id, s.label, s.image) for s in each] for split, each in samples(tmp_path).items()}
    (tmp_path / "fer2013.csv").unlink()
    icml = text(faces, "emotion, Usage, pixels", (0, 2, 1)).replace("\n", "\r\n")
    (tmp_path / "icml_face_data.csv").write_bytes(b"\xef\xbb\xbf" + icml.encode())
    assert {split: [(s.id, s.label, s.image) for s in each] for split, each in samples(tmp_path).items()} == expected
    (tmp_path / "train.csv").write_text(text(faces, "emotion,pixels", (0, 1)))
    assert [sample.label for sample in samples(tmp_path / "train.csv")["all"]] == [
        "happiness",
        "neutral",
        "anger",
        "disgust",
    ]


def test_folders_and_the_names_in_one_copy_that_has_both_tests_in_one(picture, tmp_path):
    for name in ("train/angry/Training_1.jpg", "test/happy/PublicTest_2.jpg", "test/sad/PrivateTest_3.jpg"):
        picture(tmp_path / name)
    shutil.copy(tmp_path / "train/angry/Training_1.jpg", tmp_path / "test/happy/PrivateTest_1.jpg")
    found = samples(tmp_path)
    ids = {split: [(sample.id, sample.label) for sample in each] for split, each in found.items()}
    assert ids == {
        "train": [("train/angry/Training_1.jpg", "anger")],
        "validation": [("test/happy/PublicTest_2.jpg", "happiness")],
        "test": [("test/happy/PrivateTest_1.jpg", "happiness"), ("test/sad/PrivateTest_3.jpg", "sadness")],
    }
    assert found["train"][0].group == found["test"][0].group != found["test"][1].group


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("PublicTest", "validation"),
        ("private_test", "test"),
        ("Training", "train"),
        ("val", "validation"),
        (".", "all"),
    ],
)
def test_names_of_split_folders(folder, split, picture, tmp_path):
    picture(tmp_path / folder / "fear" / "12.png")
    assert list(samples(tmp_path)) == [split]


WRONG = {
    ("3,", "8,"): "line 2: emotion must be an integer from 0 to 6, not '8'",
    ("3,", "3.0,"): "line 2: emotion must be an integer from 0 to 6, not '3.0'",
    ("3,", "3,7 "): "line 2 has 2305 pixels, not 48 x 48 = 2304",
    ("3,", "3,-1 "): "line 2: pixels must be integers from 0 to 255",
    ("3,", "3,1.5 "): "line 2: pixels must be integers from 0 to 255",
    ("3,", "3,x"): "line 2: pixels must be integers from 0 to 255",
    ("3,", "3,999"): "line 2: pixels must be integers from 0 to 255",
    ("PublicTest", "Test"): "line 4: Usage must be Training, PublicTest or PrivateTest, not 'Test'",
    ("pixels", "images"): "has no column pixels; it has emotion, images, usage: is it FER2013?",
    ("emotion", "label"): "line 2: emotion must be an integer from 0 to 6, not ''",
}


@pytest.mark.parametrize("change", WRONG, ids=WRONG.values())
def test_what_is_wrong_in_a_table(change, faces, tmp_path, refused):
    (tmp_path / "fer2013.csv").write_text(text(faces).replace(*change, 1))
    assert WRONG[change] in refused("fer2013", path=str(tmp_path))


def test_what_is_wrong_otherwise(picture, tmp_path, refused):
    assert "does not exist" in refused("fer2013", path=str(tmp_path / "none"))
    assert "no pictures in class folders" in refused("fer2013", path=str(tmp_path))
    picture(tmp_path / "train" / "3" / "1.png")
    message = refused("fer2013", path=str(tmp_path))
    assert "the folder '3' is none of anger, disgust, fear" in message
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    assert "has no faces" in refused("fer2013", path=str(tmp_path))
