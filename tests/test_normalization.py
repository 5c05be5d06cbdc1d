"""What stands around every normalizer: the gate out, draws, and the cache of what it returned."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import fakes
import pytest
import torch
from fakes import LABELS, component, plugin, recipe

import ferkit
from ferkit import ComponentError, Config, Faces, Frontal, ImageBatch, RecipeError, StageError
from ferkit.cache import Cache
from ferkit.components import OPERATIONAL
from ferkit.testing import FACE_BOX, FACE_LANDMARKS, face_picture
from ferkit.turning import GROUP, ROOM

TURNS = (9.0, 0.0, -30.0)  # pixels by which the tip of the nose is moved, by draw


class EditorConfig(Config):
    landmarks: bool = True
    refuses: bool = False
    troubled: int | None = None
    at_most: Annotated[int | None, OPERATIONAL] = None
    patience: Annotated[float, OPERATIONAL] = 1.0


class Editor:
    """Returns the portrait, yellower; counts what it is asked."""

    asked = 0
    calls = 0
    broken = False

    def __init__(self, config, context):
        self.config, self.version = config, Editor.release

    release = "1"

    def __call__(self, batch, faces):
        return [result for _, result in self.sampled(batch, faces, 0)]

    def sampled(self, batch, faces, sample):
        Editor.calls += 1
        for face in reversed(range(len(faces))):
            if Editor.broken or Editor.asked == self.config.at_most:
                raise StageError("the server is down")
            Editor.asked += 1
            if self.config.troubled != int(faces.boxes[face, 0] - FACE_BOX[0]):
                yield face, self.turned(sample)

    def turned(self, sample):
        points = torch.tensor(FACE_LANDMARKS)
        points[2, 0] += TURNS[sample]
        picture = face_picture()
        picture[2] //= 3  # yellower than it was
        result = Frontal(picture, points if self.config.landmarks else None, score=(5 + sample) / 10)
        return None if self.config.refuses else result


class Once:
    """An editor with but one draw."""

    def __init__(self, config, context):
        pass

    def __call__(self, batch, faces):
        return [Frontal(face_picture()) for _ in range(len(faces))]


@pytest.fixture
def prepare(registry, monkeypatch):
    """Build the way to views of a recipe whose faces, all of unknown pose, go to the editor."""
    for name, fake in (("Editor", Editor), ("Once", Once)):
        monkeypatch.setattr(fakes, name, fake, raising=False)
    for name, value in (("asked", 0), ("calls", 0), ("broken", False), ("release", "1")):
        monkeypatch.setattr(Editor, name, value)
    registry.register(
        plugin(
            component("normalizer", "editor", EditorConfig, "fakes:Editor"),
            component("normalizer", "once", target="fakes:Once"),
        ),
        "acme",
        "1.0",
    )

    def make(detector=None, pose="landmark-pnp", labels=LABELS, seed=0, **normalizer):
        loaded = ferkit.load_recipe(
            recipe(
                labels=list(labels),
                seed=seed,
                detector=detector or {"use": "boxes", "boxes": [list(FACE_BOX)]},
                pose={"use": pose} if pose else None,
                normalizer={"use": "editor", "no_pose": "turn", **normalizer},
            ),
            registry=registry,
        )
        return ferkit.pipeline(loaded)

    return make


def scene(count=1, shift=0):
    """A batch of one picture, and ``count`` faces in it whose pose is unknown."""
    boxes = torch.tensor([FACE_BOX]) + torch.arange(count).reshape(-1, 1) + shift
    return ImageBatch((face_picture(),), ("portrait",)), Faces.of([0] * count, boxes)


def outcome(fer, count=1, shift=0):
    found = fer._preparation.outcomes(*scene(count, shift))[1]
    return found[0] if count == 1 else found


def test_faces_without_pose_are_turned_or_kept(prepare):
    assert outcome(prepare()).flags == ()
    assert outcome(prepare(no_pose="keep")).flags == ("not_turned",)
    assert Editor.asked == 1


def test_yaw_and_pitch_that_are_left_decide(prepare):
    pose = outcome(prepare()).pose
    for name in ("yaw", "pitch"):
        left = abs(getattr(pose, name))
        assert left > 0.2
        assert outcome(prepare(accept={f"max_{name}": left + 0.1})).view is not None
        rejected = outcome(prepare(accept={f"max_{name}": left - 0.1}))
        assert (rejected.flags, rejected.view) == ((f"edit_rejected:{name}",), None)
        assert rejected.pose == pose
    assert Editor.asked == 1  # the gates ask no editor


def test_a_result_whose_pose_is_unknown_does_not_pass_the_gate_of_yaw(prepare):
    assert outcome(prepare(landmarks=False)).flags == ()
    assert outcome(prepare(landmarks=False, accept={"max_yaw": 90})).flags == ("edit_rejected:yaw",)


@pytest.mark.parametrize("name", ["identity", "expression"])
def test_judges_compare_the_views(prepare, name):
    judge = {"use": "colour", "min_cosine": -1}
    cosine = outcome(prepare(accept={name: judge})).cosines[name]
    assert 0.5 < cosine < 1
    assert outcome(prepare(accept={name: {**judge, "min_cosine": cosine - 1e-4}})).view is not None
    rejected = outcome(prepare(accept={name: {**judge, "min_cosine": cosine + 1e-5}}))
    assert rejected.flags == (f"edit_rejected:{name}",)
    assert rejected.cosines[name] == pytest.approx(cosine)


def test_exactly_one_face_is_found_again(prepare):
    for boxes, flags in (
        ([], ("edit_rejected:no_face",)),
        ([FACE_BOX], ()),
        ([FACE_BOX, FACE_BOX], ("edit_rejected:several_faces",)),
    ):
        fer = prepare(detector={"use": "boxes", "boxes": [list(box) for box in boxes]}, landmarks=False)
        assert outcome(fer).flags == flags


def test_a_rejected_face_is_predicted_from_its_aligned_view_and_says_so(prepare):
    turned, rejected = prepare(), prepare(accept={"max_yaw": 0})
    views, flags = rejected.views(*scene())
    assert (views.view, views.failed.tolist(), flags) == (("aligned",), [True], (("edit_rejected:yaw",),))
    assert turned.views(*scene())[0].view == ("frontal",)


def test_the_best_of_several_draws_is_taken(prepare):
    yaws = [abs(outcome(prepare(samples=k + 1)).pose.yaw) for k in range(3)]
    best = outcome(prepare(samples=3))
    assert best.sample == 1
    assert abs(best.pose.yaw) == min(yaws) < yaws[0] - 1
    assert Editor.asked == 3  # each draw once, however many are asked for later


def test_without_pose_the_highest_score_is_taken(prepare):
    assert outcome(prepare(samples=3, landmarks=False)).sample == 2


def test_of_rejected_draws_the_one_that_came_furthest_is_told(prepare):
    found = outcome(prepare(samples=3, accept={"max_yaw": 0}))
    assert (found.view, found.flags) == (None, ("edit_rejected:yaw",))


def test_several_draws_need_a_normalizer_that_can_draw(prepare):
    with pytest.raises(ComponentError, match=r"normalizer.samples: 2: once turns a face in one way only"):
        prepare(use="once", samples=2)


def test_a_hit_is_what_was_returned(prepare):
    first, second = outcome(prepare(samples=3)), outcome(prepare(samples=3))
    assert not first.cached and second.cached
    assert torch.equal(first.view, second.view)
    assert (first.pose, first.sample) == (second.pose, second.sample)
    assert second.seconds == pytest.approx(first.seconds, abs=0.002)


def test_only_what_decides_the_result_is_in_the_key(prepare):
    outcome(prepare())
    for same in ({"patience": 9.0}, {"keep": "both"}, {"above_yaw": 5}, {"labels": ("a", "b", "c")}):
        assert outcome(prepare(**same)).cached, same
    assert Editor.asked == 1
    for other in ({"seed": 1}, {"refuses": True}, {"landmarks": False}):
        assert not outcome(prepare(**other)).cached, other
    assert not outcome(prepare(), shift=1).cached
    Editor.release = "2"
    assert not outcome(prepare()).cached


def test_who_tells_what_decides_is_asked_again_for_that_alone(prepare, monkeypatch):
    monkeypatch.setattr(Editor, "cache_key", {"landmarks": True}, raising=False)
    outcome(prepare())
    assert outcome(prepare(refuses=True)).cached
    monkeypatch.setattr(Editor, "cache_key", {"landmarks": False})
    assert not outcome(prepare()).cached
    assert not outcome(prepare(seed=1)).cached


def test_another_picture_is_another_face(prepare):
    fer = prepare()
    outcome(fer)
    batch, faces = scene()
    changed = batch.images[0].clone()
    changed[0, 0, 0] ^= 1
    assert not fer._preparation.outcomes(ImageBatch((changed,), ("portrait",)), faces)[1][0].cached


def test_one_face_twice_in_a_batch_is_asked_for_once(prepare):
    batch, faces = scene()
    twice = faces.select(torch.tensor([0, 0]))
    found = prepare()._preparation.outcomes(batch, twice)[1]
    assert Editor.asked == 1
    assert torch.equal(found[0].view, found[1].view)


def test_faces_go_to_the_normalizer_in_groups_that_are_kept_at_once(prepare, tmp_path):
    fer = prepare()
    outcome(fer, count=GROUP + 3)
    assert (Editor.calls, Editor.asked) == (2, GROUP + 3)
    Editor.broken = True
    with pytest.raises(StageError, match=r"acme:editor .*the server is down"):
        outcome(fer, count=GROUP + 3, shift=2)  # all but the last two are known
    Editor.broken = False
    outcome(fer, count=GROUP + 3, shift=2)
    assert Editor.asked == GROUP + 5


def test_a_refusal_is_kept_and_an_error_is_not(prepare):
    assert outcome(prepare(refuses=True)).flags == ("edit_failed",)
    assert outcome(prepare(refuses=True)).cached
    assert Editor.asked == 1
    Editor.broken = True
    with pytest.raises(StageError):
        outcome(prepare())
    Editor.broken = False
    assert outcome(prepare()).flags == ()


def test_what_was_yielded_before_an_error_is_kept(prepare):
    with pytest.raises(StageError, match="the server is down"):
        outcome(prepare(at_most=3), count=8)
    found = outcome(prepare(), count=8)
    assert [face.cached for face in found] == [False] * 5 + [True] * 3  # it begins with the last
    assert Editor.asked == 8


def test_a_face_that_is_left_out_failed_and_is_asked_for_again(prepare):
    for _ in range(2):
        found = outcome(prepare(troubled=1), count=3)
        assert [face.flags for face in found] == [(), ("edit_failed",), ()]
    assert [face.cached for face in found] == [True, False, True]
    assert Editor.asked == 4


def test_an_index_out_of_place_is_an_error(prepare, monkeypatch):
    for faces in ([3], [0, 0], [None]):
        monkeypatch.setattr(Editor, "sampled", lambda *_, faces=faces: ((face, None) for face in faces))
        with pytest.raises(StageError, match=r"acme:editor 1.0: was given 2 faces and returned the face"):
            outcome(prepare(cache=False), count=2)


def test_who_sees_but_the_crop_is_asked_again_for_another_crop_alone(prepare, monkeypatch):
    def cached(yaw, roll, points):
        batch, faces = scene()
        known = {"5": torch.tensor([FACE_LANDMARKS]) + points}
        posed = replace(faces, pose=torch.tensor([[yaw, 0.0, roll]]), landmarks=known)
        return prepare(above_yaw=0)._preparation._views.outcomes(batch, posed)[1][0].cached

    assert not cached(40, 0, 0)
    assert not cached(41, 0, 0)  # it may look at everything
    monkeypatch.setattr(Editor, "crop_margin", 0.5, raising=False)
    assert not cached(40, 0, 0)
    assert cached(41, 0, 1)
    assert not cached(40, 5, 0)


def entries():
    return sorted(Path(os.environ["FERKIT_CACHE"], ROOM).rglob("*.*"))


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n", "flip", "cut"])
@pytest.mark.parametrize("refuses", [False, True])
def test_a_damaged_entry_is_asked_for_again(prepare, damage, refuses):
    outcome(prepare(refuses=refuses))
    (path,) = entries()
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x84]) + content[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": content[:middle]}.get(damage, damage))
    assert not outcome(prepare(refuses=refuses)).cached
    assert outcome(prepare(refuses=refuses)).cached
    assert path.read_bytes() != damage


def test_what_is_cheap_is_not_kept_unless_asked_for(prepare):
    outcome(prepare(use="mirror"))
    assert entries() == []
    outcome(prepare(cache=False))
    assert entries() == []
    outcome(prepare(use="mirror", cache=True))
    assert len(entries()) == 1
    assert outcome(prepare(use="mirror", cache=True)).cached


WRITER = """
import sys
import torch
from ferkit.cache import Cache

torch.set_num_threads(1)
cache, which = Cache(), int(sys.argv[1])
for turn in range(40):
    for key in range(5):
        cache.save_picture("turned", f"{key:064x}", torch.full((3, 64, 64), which, dtype=torch.uint8), {"by": which})
        picture, note = cache.load_picture("turned", f"{key:064x}")
        assert picture.unique().tolist() == [note["by"]], (picture.unique(), note)
"""


def test_processes_share_one_cache():
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(n)], stderr=subprocess.PIPE) for n in (1, 2, 3)]
    told = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    assert len(entries()) == 5


def problems(registry, **normalizer):
    with pytest.raises(RecipeError) as caught:
        ferkit.load_recipe(recipe(pose={"use": "fixed"}, normalizer={"use": "red", **normalizer}), registry=registry)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_what_is_wrong_inside_accept_is_told_with_its_path(registry):
    told = problems(
        registry,
        accept={
            "max_yaw": -1,
            "identity": {"use": "colour", "scael": 1},
            "expression": {"use": "nothing-of-the-kind", "min_cosine": 2},
        },
    )
    assert set(told) == {
        "normalizer.accept.max_yaw",
        "normalizer.accept.identity.scael",
        "normalizer.accept.identity.min_cosine",
        "normalizer.accept.expression.use",
        "normalizer.accept.expression.min_cosine",
    }
    assert told["normalizer.accept.identity.scael"] == "unknown key (did you mean scale?)"
    assert told["normalizer.accept.identity.min_cosine"] == "is missing"
    assert "use: …" in problems(registry, accept={"identity": {"min_cosine": 0}})["normalizer.accept.identity"]
    assert "learnt" in next(
        iter(problems(registry, accept={"identity": {"use": "colour", "min_cosine": 0, "learnt": "x.safetensors"}}))
    )


def test_the_pose_that_a_gate_needs_is_asked_for(registry):
    loaded = recipe(normalizer={"use": "red", "no_pose": "turn", "accept": {"max_yaw": 20}})
    with pytest.raises(RecipeError, match=r"normalizer.accept .*judged by its pose: add, say, `pose"):
        ferkit.load_recipe(loaded, registry=registry)
    del loaded["normalizer"]["accept"]
    assert ferkit.load_recipe(loaded, registry=registry).pose is None


def test_judges_are_components_of_the_recipe(registry):
    accept = {"max_yaw": 20, "identity": {"use": "colour", "scale": 3, "min_cosine": 0.5}}
    loaded = ferkit.load_recipe(
        recipe(pose={"use": "fixed"}, normalizer={"use": "red", "accept": accept}), registry=registry
    )
    assert loaded.parts()["normalizer.accept.identity"].config.scale == 3
    again = ferkit.load_recipe(loaded.resolved(), registry=registry)
    assert (again.resolved(), again.digest) == (loaded.resolved(), loaded.digest)
    changed = ferkit.load_recipe(loaded.resolved(), {"normalizer.accept.identity.scale": 4}, registry=registry)
    assert changed.digest != loaded.digest
    origin = ferkit.pipeline(loaded).provenance
    assert origin["components"]["normalizer.accept.identity"]["use"] == "ferkit-fakes:colour"


def test_where_results_are_kept_is_no_part_of_the_digest(registry, prepare):
    base = recipe(pose={"use": "fixed"}, normalizer={"use": "editor"})
    digests = {
        ferkit.load_recipe(base, {f"normalizer.{key}": value}, registry=registry).digest
        for key, value in (("cache", True), ("cache", False), ("patience", 7.0))
    }
    assert digests == {ferkit.load_recipe(base, registry=registry).digest}
    assert ferkit.load_recipe(base, {"normalizer.samples": 2}, registry=registry).digest not in digests


def test_training_prepares_again_for_another_gate_and_asks_no_editor(prepare, tmp_path):
    from PIL import Image

    from ferkit.datasets.prepared import prepare as prepare_samples
    from ferkit.interfaces import Context, Sample

    Image.fromarray(face_picture().permute(1, 2, 0).numpy()).save(tmp_path / "face.png")
    samples = [Sample("face", str(tmp_path / "face.png"), LABELS[0])]

    def prepared(**normalizer):
        loaded = prepare(**normalizer).recipe
        context = Context(torch.device("cpu"), torch.float32, 0, loaded.labels, ferkit.WeightsStore())
        return prepare_samples(samples, True, loaded, context, Cache())

    accepted, rejected = prepared(), prepared(accept={"max_yaw": 0})
    assert accepted.keys != rejected.keys
    assert (accepted.views([0]).view, rejected.views([0]).view) == (("frontal",), ("aligned",))
    assert prepared(patience=5.0, cache=True).keys == accepted.keys
    assert Editor.asked == 1


def test_normalize_gives_one_result_an_input(prepare, tmp_path):
    fer = prepare(accept={"max_yaw": 60})
    (tmp_path / "broken.png").write_bytes(b"broken")
    results = list(fer.normalize([face_picture(), tmp_path / "broken.png", face_picture()], batch_size=2))
    assert [len(result.faces) for result in results] == [1, 0, 1]
    assert results[1].info.error_kind == "not_an_image"
    (face,) = results[0].faces
    assert (face.decision, face.view.shape) == ("turned", (3, 16, 16))
    assert Editor.asked == 1


def test_normalize_needs_a_normalizer(registry):
    fer = ferkit.pipeline(recipe(), registry=registry)
    with pytest.raises(ferkit.FerkitError, match=r"--set normalizer.use=NAME"):
        fer.normalize([face_picture()])


def test_an_entry_is_a_png_that_anything_can_read(prepare):
    from PIL import Image

    outcome(prepare())
    (path,) = entries()
    with Image.open(path) as image:
        note = json.loads(image.text["ferkit"])
        assert image.size == (160, 160)
    assert note["score"] == 0.5
    assert note["landmarks"][0] == pytest.approx(FACE_LANDMARKS[0], abs=1e-4)
    assert {"seconds", "made"} <= set(note)
