"""What the default recipe promises, end to end on real photographs."""

from pathlib import Path

import pytest

import ferkit

IMAGES = Path(__file__).parent.parent / "examples" / "images"


@pytest.fixture(scope="module")
def fer():
    return ferkit.pipeline()


def test_the_astronaut_is_one_happy_face(fer):
    [face] = fer(IMAGES / "astronaut.jpg")
    assert face.label == "happiness"
    assert face.confidence > 0.5
    assert abs(face.pose.yaw) < 15 and abs(face.pose.pitch) < 25 and abs(face.pose.roll) < 15
    assert face.flags == ()


def test_the_solvay_photo_has_29_faces_none_twice(fer):
    faces = fer(IMAGES / "solvay_1927.jpg")
    assert len(faces) == 29
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (face.box for face in faces)]
    apart = [abs(a - c) + abs(b - d) for i, (a, b) in enumerate(centres) for c, d in centres[:i]]
    assert min(apart) > 20
    assert all(face.label in faces.labels and abs(face.pose.yaw) < 60 for face in faces)
    assert not faces.probabilities.isnan().any()


@pytest.mark.parametrize(
    ("change", "faces"),
    [
        ({"detector.use": "whole-image"}, 1),
        ({"align.method": "box"}, 1),
        ({"align": {"size": 112, "margin": 0.1}}, 1),
        ({"encoders": {"again": {"use": "nano"}}}, 1),
        ({"pose": None}, 1),
        ({"normalizer": {"use": "resample", "above_yaw": 0, "keep": "both"}}, 1),
    ],
)
def test_one_line_swaps_a_part(change, faces):
    fer = ferkit.pipeline("default", change)
    assert len(fer(IMAGES / "astronaut.jpg")) == faces
