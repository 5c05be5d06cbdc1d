from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from fakes import component, plugin, recipe
from PIL import Image

import ferkit
from ferkit import Frontal

ROOT = Path(__file__).parent.parent
BOXES = [[0, 0, 30, 30], [30, 0, 50, 20], [50, 0, 60, 10]]  # `fixed` turns them by 0, 40 and 80 degrees


@pytest.fixture
def run(registry, monkeypatch):
    """Views and flags of three faces in a blue picture."""
    registry.register(plugin(component("normalizer", "returns", target="fakes:Returns")), "acme")

    def views(returns=None, pose="fixed", **normalizer):
        if returns is not None:

            class Returns:
                def __init__(self, config, context):
                    pass

                def __call__(self, batch, faces):
                    return [returns for _ in range(len(faces))]

            monkeypatch.setattr(fakes, "Returns", Returns, raising=False)
            normalizer |= {"use": "returns", "cache": False}
        fer = ferkit.pipeline(
            recipe(
                detector={"use": "boxes", "boxes": BOXES, "needs": 50},
                pose={"use": pose},
                normalizer={"use": "red", **normalizer},
                align={"size": 16, "method": "landmarks"},
            ),
            registry=registry,
        )
        batch = ferkit.ImageBatch(
            (torch.tensor([0, 0, 255], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 40, 60),), ("blue",)
        )
        return fer.views(batch, fer.faces(batch))

    return views


def seen(views):
    """(face, view, colour, failed) of every view."""
    colours = ["red" if pixels[0].mean() > pixels[2].mean() else "blue" for pixels in views.pixels]
    return list(zip(views.face_index.tolist(), views.view, colours, views.failed.tolist(), strict=True))


def test_faces_beyond_the_gate_are_turned_and_the_others_stay(run):
    views, flags = run(above_yaw=30)
    assert seen(views) == [(0, "aligned", "blue", False), (1, "frontal", "red", False), (2, "frontal", "red", False)]
    assert flags == (("not_turned",), (), ())


def test_the_gate_is_exclusive_and_movable(run):
    assert list(run(above_yaw=40)[1]) == [("not_turned",), ("not_turned",), ()]
    assert list(run(above_yaw=0)[1]) == [("not_turned",), (), ()]


def test_both_views_can_be_kept(run):
    views, _ = run(above_yaw=30, keep="both")
    assert [(face, view) for face, view, _, _ in seen(views)] == [
        (0, "aligned"),
        (1, "aligned"),
        (1, "frontal"),
        (2, "aligned"),
        (2, "frontal"),
    ]


@pytest.mark.parametrize("keep", ["frontal", "both"])
def test_where_turning_failed_the_aligned_view_stands_in_once(run, keep):
    views, flags = run(above_yaw=30, keep=keep, fails_on=[0])
    assert [row for row in seen(views) if row[0] == 1] == [(1, "aligned", "blue", True)]
    assert flags[1] == ("edit_failed",)
    assert not views.failed[views.face_index != 1].any()


def test_a_result_without_landmarks_is_searched_for_its_face(run):
    grown = torch.full((3, 64, 64), 200, dtype=torch.uint8)
    assert run(Frontal(grown), above_yaw=30)[1][1] == ("edit_rejected:several_faces",)
    assert run(Frontal(grown[:, :, :40]), above_yaw=30)[1][1] == ("edit_rejected:no_face",)


def test_a_normalizer_that_loses_a_face_is_named(registry, monkeypatch):
    class Loses:
        def __init__(self, config, context):
            pass

        def __call__(self, batch, faces):
            return self.results

    monkeypatch.setattr(fakes, "Loses", Loses, raising=False)
    registry.register(plugin(component("normalizer", "loses", target="fakes:Loses")), "acme", "2.0")
    fer = ferkit.pipeline(
        recipe(
            detector={"use": "boxes", "boxes": BOXES},
            pose={"use": "fixed"},
            normalizer={"use": "loses", "above_yaw": 30},
        ),
        registry=registry,
    )
    for results, told in (
        ([None], "was given 2 faces and returned 1 results"),
        ([None, "x"], "returned a str for a face"),
    ):
        Loses.results = results
        with pytest.raises(ferkit.StageError, match=f"normalizer acme:loses 2.0: {told}"):
            fer(Image.new("RGB", (60, 40)))


def test_faces_without_pose_are_not_turned_and_say_so(registry):
    fer = ferkit.pipeline(
        recipe(pose={"use": "landmark-pnp"}, normalizer={"use": "red", "above_yaw": 0}), registry=registry
    )
    assert {"no_pose", "not_turned"} <= set(fer(Image.new("RGB", (20, 20), "blue"))[0].flags)


def test_pitch_has_a_gate_of_its_own(registry):
    from ferkit.recipe_model import Normalization
    from ferkit.views import beyond_gate

    pose = torch.tensor([[0.0, 25, 0], [0, -25, 0], [0, 5, 0], [50, 0, 0], [torch.nan] * 3])
    faces = ferkit.Faces.of([0] * 5, torch.zeros(5, 4), pose=pose)
    assert beyond_gate(faces, Normalization(above_yaw=30)).tolist() == [False, False, False, True, False]
    assert beyond_gate(faces, Normalization(above_yaw=30, above_pitch=20)).tolist() == [True, True, False, True, False]


def test_mirror_and_resample_are_controls(registry):
    half = torch.zeros(3, 40, 40, dtype=torch.uint8)
    half[:, :, :20] = 250
    points = torch.tensor([[12.0, 15], [28, 15], [20, 24], [14, 31], [26, 31]])[None]
    posed = ferkit.Faces.of([0], [[5, 5, 35, 35]], landmarks={"5": points}, pose=torch.tensor([[50.0, 0, 0]]))
    sides = {}
    for name in ("mirror", "resample"):
        fer = ferkit.pipeline(
            recipe(pose={"use": "fixed"}, align={"size": 20}, normalizer={"use": name, "above_yaw": 0}),
            registry=registry,
        )
        views, flags = fer.views(ferkit.ImageBatch((half,), ("half",)), posed)
        assert flags == ((),)
        sides[name] = (float(views.pixels[0, 0, 10, 2]), float(views.pixels[0, 0, 10, -3]))
    assert sides["mirror"][0] < 0.2 and sides["mirror"][1] > 0.8
    assert sides["resample"][0] > 0.8 and sides["resample"][1] < 0.2


@pytest.mark.parametrize(
    "points", [[[torch.nan] * 2] * 5, [[torch.inf, 1.0]] * 5, [[1e30, 5.0]] * 5, [[0.0, 0.0]] * 5, [[20.0, 20.2]] * 5]
)
def test_landmarks_of_no_face_count_for_nothing(run, points):
    frontal = Frontal(torch.zeros(3, 40, 40, dtype=torch.uint8), torch.tensor(points))
    assert run(frontal)[1][1:] == (("edit_rejected:no_face",),) * 2  # it is searched, and `boxes` finds none


@pytest.mark.parametrize(
    "wrong", [{"image": torch.zeros(3, 0, 9, dtype=torch.uint8)}, {"score": None}, {"score": "high"}]
)
def test_what_no_frontal_can_be_is_an_error(wrong):
    with pytest.raises(ValueError, match="frontal image"):
        Frontal(**{"image": torch.zeros(3, 9, 9, dtype=torch.uint8), **wrong})
    assert Frontal(torch.zeros(3, 9, 9, dtype=torch.uint8), score=torch.tensor(0.5)).score == 0.5


@pytest.mark.parametrize("name", ["mirror", "resample"])
@pytest.mark.parametrize("is_crop", [False, True])
def test_a_control_frames_the_face_as_it_was(name, is_crop):
    """With annotated faces, of which nothing but the box is known."""
    chosen = {
        "detector.use": "given",
        "pose.use": "landmark-pnp",  # without landmarks it tells nothing
        "normalizer": {"use": name, "no_pose": "turn"},
        "align.method": "box",
        "align.margin": 0.25,
    }
    fer = ferkit.pipeline("default", chosen | ({"normalizer.size": 512} if name == "resample" else {}))
    with Image.open(ROOT / "examples" / "images" / "astronaut.jpg") as photo:
        picture = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)
    height, width = picture.shape[1:]
    box = [0.0, 0.0, width, height] if is_crop else [175.0, 70.0, 275.0, 205.0]
    faces = ferkit.Faces.of([0], [box], is_crop=is_crop)
    aligned, turned = (
        fer.views(ferkit.ImageBatch((picture,), ("photo",)), each)[0] for each in (given(faces, 0), faces)
    )
    assert turned.view == ("frontal",)
    expected = aligned.pixels.flip(3) if name == "mirror" else aligned.pixels
    assert float((turned.pixels - expected).abs().mean()) < 0.01


def given(faces, yaw):
    """``faces`` with a pose that is within the gate."""
    return faces.with_pose(torch.tensor([[yaw, 0.0, 0.0]]), torch.ones(1))


@pytest.mark.parametrize("detector", ["given", "whole-image"])
def test_an_editor_needs_a_detector_that_looks(registry, detector):
    blind = recipe(detector={"use": detector}, pose={"use": "fixed"}, normalizer={"use": "red"})
    with pytest.raises(ferkit.RecipeError, match=f"detector.use.*'{detector}' looks at no picture"):
        ferkit.load_recipe(blind, registry=registry)
    ferkit.load_recipe(blind | {"normalizer": {"use": "mirror"}}, registry=registry)
