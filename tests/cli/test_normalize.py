"""``ferkit normalize``: what it writes, and that a run stopped in any way goes on."""

import json
import os
import subprocess
import sys
import time

import fakes
import numpy as np
import pytest
import yaml
from PIL import Image

import ferkit
from ferkit.cli.normalize import COLUMNS
from ferkit.cli.sheet import BETWEEN, GAP, SIDE, WIDE

PLUGIN = """
from ferkit import Component, Config, hookimpl

class Options(Config):
    tint: int = 0

@hookimpl
def ferkit_components():
    return [
        Component("detector", "everything", Config, "ferkit.builtin.whole_image:WholeImage", "takes all for a face"),
        Component("normalizer", "slow", Options, "slow_target:Slow", "waits"),
        Component("encoder", "never", Config, "slow_target:Never", "can't be built", provides=frozenset({"logits"})),
    ]
"""
TARGET = """
import os, time
import torch
from ferkit import Frontal
from ferkit.editing import face_crop

torch.set_num_threads(1)

class Never:
    def __init__(self, config, context):
        raise AssertionError("normalize builds no encoder")

class Slow:
    def __init__(self, config, context):
        self.tint = config.tint

    def __call__(self, batch, faces):
        results = []
        for face in range(len(faces)):
            time.sleep(float(os.environ.get("SLOW", 0)))
            image = face_crop(batch, faces, face, 0.0, 32)
            image[0] = self.tint
            results.append(Frontal(image))
        with open("asked", "a") as log:
            log.write("x" * len(faces))
        return results
"""
COUNT = 10


@pytest.fixture
def slow(tmp_path):
    """Start ``ferkit normalize`` as a process of its own, on pictures of which one is broken."""
    fakes.install(tmp_path / "installed", "slow-plugin", PLUGIN)
    (tmp_path / "installed" / "slow_target.py").write_text(TARGET)
    recipe = fakes.recipe(
        pose={"use": "landmark-pnp"}, normalizer={"use": "slow", "no_pose": "turn"}, encoders={"n": {"use": "never"}}
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "photos").mkdir()
    for index in range(COUNT):
        Image.new("RGB", (16, 16), (20 * index, 100, 50)).save(tmp_path / "photos" / f"{index:02}.png")
    (tmp_path / "photos" / "05.png").write_bytes(b"broken")

    def start(*arguments, wait=0.0):
        search = os.pathsep.join([str(tmp_path / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = ["normalize", "photos", "-r", "recipe.yaml", "--batch-size", "1", "--out", "out", *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "ferkit", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": search, "FERKIT_PLUGINS": "slow-plugin", "SLOW": str(wait)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def rows(folder):
    return [json.loads(line) for line in (folder / "normalize.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_and_asks_nothing_twice(slow, tmp_path):
    process = slow(wait=0.3)
    deadline = time.monotonic() + 120
    asked, journal = tmp_path / "asked", tmp_path / "out" / "normalize.partial.jsonl"
    while not asked.exists() or asked.stat().st_size < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=120)
    done = journal.read_bytes().count(b"\n") - 1
    assert 3 <= done < COUNT
    assert not (tmp_path / "out" / "normalize.jsonl").exists()
    lost = asked.stat().st_size
    (tmp_path / "out" / "views" / "01-0.png").unlink()  # as if it had not been written
    (tmp_path / "out" / "views" / ".01-0.png.0123abcd.tmp").write_bytes(b"half written")

    again = slow()
    stderr = again.communicate(timeout=120)[1]
    assert again.returncode == 1, stderr  # 05.png
    assert "going on with out/normalize.partial.jsonl: " in stderr
    assert lost <= asked.stat().st_size <= COUNT  # at most the face under way was asked for again
    found = rows(tmp_path / "out")
    assert [row["source"] for row in found] == [f"photos/{index:02}.png" for index in range(COUNT)]
    assert [row["decision"] for row in found] == ["turned"] * 5 + [None] + ["turned"] * 4
    assert all((tmp_path / "out" / row["view"]).is_file() for row in found if row["view"])
    assert found[1]["cached"] is True  # made again, and the editor was not asked
    assert not journal.exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_every_face_and_every_failure_has_a_line(cli, write_recipe, photos, tmp_path):
    (photos / "d.png").write_bytes(b"broken")
    path = write_recipe(
        detector={"use": "boxes", "needs": 22, "boxes": [[0, 0, 12, 12], [2, 2, 8, 8]]},
        pose={"use": "fixed"},
        normalizer={"use": "red", "above_yaw": 30},
    )
    result = cli("normalize", photos, "-r", path, "--out", "out", "--sheet", code=1)
    assert "3 images (1 without a face), 4 faces, 1 error" in result.stderr
    found = rows(tmp_path / "out")
    assert all(tuple(row) == COLUMNS for row in found)
    told = [(row["source"].rpartition("/")[2], row["face"], row["decision"], row["view"]) for row in found]
    assert told == [
        ("a.jpg", 0, "not_turned", "views/a-0.png"),
        ("a.jpg", 1, "turned", "views/a-1.png"),
        ("b.png", None, "no_face", None),
        ("c.png", 0, "turned", "views/c-0.png"),
        ("c.png", 1, "turned", "views/c-1.png"),
        ("d.png", None, None, None),
    ]
    assert found[5]["error"].startswith("not_an_image: ")
    assert (found[0]["seconds"], found[0]["cached"], found[0]["sample"]) == (None, None, None)
    assert (found[1]["yaw"], found[1]["yaw_after"], found[1]["sample"]) == (40, 0, 0)
    assert [row["pose_score"] for row in found] == [0.75, 0.75, None, 0.75, 0.75, None]
    assert sorted(path.name for path in (tmp_path / "out" / "views").iterdir()) == [
        "a-0.png",
        "a-1.png",
        "c-0.png",
        "c-1.png",
    ]
    with Image.open(tmp_path / "out" / "views" / "c-0.png") as view:
        assert view.size == (16, 16)
        assert view.getpixel((8, 8)) == (255, 0, 0)
    meta = json.loads((tmp_path / "out" / "normalize.meta.json").read_text())
    assert meta["counts"] == {"images": 3, "faces": 4, "no_face": 1, "failed": 1}
    assert meta["decisions"] == {"not_turned": 1, "turned": 3}
    assert set(meta["provenance"]["components"]) == {"detector", "pose", "normalizer"}
    with Image.open(tmp_path / "out" / "sheet.jpg") as sheet:
        assert max(sheet.size) < 2000


def test_a_rejected_or_failed_face_is_its_aligned_view(cli, write_recipe, photos, tmp_path):
    path = write_recipe(
        pose={"use": "landmark-pnp"}, normalizer={"use": "red", "no_pose": "turn", "accept": {"max_yaw": 0}}
    )
    cli("normalize", photos / "c.png", "-r", path, "--out", "out")
    (row,) = rows(tmp_path / "out")
    assert (row["decision"], row["flags"]) == ("rejected:yaw", "no_pose;edit_rejected:yaw")
    with Image.open(tmp_path / "out" / row["view"]) as view:
        assert view.getpixel((8, 8)) == (0, 0, 255)
    cli("normalize", photos / "c.png", "-r", path, "--out", "failed", "--set", "normalizer.fails_on=[0]")
    assert rows(tmp_path / "failed")[0]["decision"] == "failed"


TURNING = {"pose": {"use": "landmark-pnp"}, "normalizer": {"use": "red", "no_pose": "turn"}}


def test_equal_stems_get_names_of_their_own(cli, write_recipe, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (16, 16), "blue").save(tmp_path / folder / "a.png")
    cli("normalize", "one", "two", "-r", write_recipe(**TURNING), "--out", "out")
    views = [row["view"] for row in rows(tmp_path / "out")]
    assert len(set(views)) == 2
    assert all((tmp_path / "out" / view).is_file() for view in views)
    cli("normalize", "one", "two", "-r", write_recipe(**TURNING), "--out", "again")
    assert [row["view"] for row in rows(tmp_path / "again")] == views


def test_another_recipe_in_the_same_folder_is_refused(cli, write_recipe, photos, tmp_path):
    path = write_recipe(**TURNING)
    command = ("normalize", photos / "c.png", "-r", path, "--out", "out")
    cli(*command)
    assert "out/normalize.jsonl exists: add --overwrite" in cli(*command, code=2).stderr
    journal = tmp_path / "out" / "normalize.partial.jsonl"
    row = {**rows(tmp_path / "out")[0], "view": "views/gone-0.png"}
    begun = {"source": row["source"], "mark": None, "rows": [row], "error": None}
    journal.write_text(json.dumps({"ferkit_journal": 1, "recipe_digest": "0" * 64}) + "\n" + json.dumps(begun) + "\n")
    (tmp_path / "out" / "views" / "gone-0.png").write_bytes(b"of the run that is replaced")
    told = cli(*command, "--set", "align.size=20", code=2).stderr
    assert "was begun with another recipe" in told and "--overwrite" in told
    cli(*command, "--set", "align.size=20", "--overwrite")
    assert [path.name for path in (tmp_path / "out" / "views").iterdir()] == ["c-0.png"]
    with Image.open(tmp_path / "out" / "views" / "c-0.png") as view:
        assert view.size == (20, 20)


def test_what_can_not_be_meant_is_refused(cli, write_recipe, photos):
    assert "--set normalizer.use=NAME" in cli("normalize", photos, "-r", write_recipe(), "--out", "out", code=2).stderr
    path = write_recipe(**TURNING)
    assert (
        "--out photos: pictures are read from there"
        in cli("normalize", "photos", "-r", path, "--out", "photos", code=2).stderr
    )


def test_ctrl_c_keeps_what_is_done(cli, write_recipe, photos, tmp_path, monkeypatch):
    calls = []

    def interrupted(self, batch, faces):
        calls.append(len(faces))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return turned(self, batch, faces)

    turned = fakes.RedFrontal.__call__
    monkeypatch.setattr(fakes.RedFrontal, "__call__", interrupted)
    command = ("normalize", photos, "-r", write_recipe(**TURNING), "--out", "out", "--batch-size", "1")
    assert "interrupted: what is done is in out/normalize.partial.jsonl" in cli(*command, code=130).stderr
    assert "going on with out/normalize.partial.jsonl: 1 of 3 inputs are done" in cli(*command).stderr
    assert calls == [1, 1, 1, 1]  # three faces, one of them twice


def pairs(path):
    """Left and right half of each pair of a sheet of one row, as arrays."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet, dtype=int)
    left = [GAP + index * (WIDE + GAP) for index in range((pixels.shape[1] - GAP) // (WIDE + GAP))]
    return [[pixels[GAP : GAP + SIDE, x : x + SIDE] for x in (start, start + SIDE + BETWEEN)] for start in left]


@pytest.mark.parametrize("detector", [{"use": "boxes", "boxes": [[150, 40, 300, 220]]}, {"use": "everything"}])
def test_the_sheet_shows_the_aligned_view_itself(cli, write_recipe, photos, tmp_path, detector):
    path = write_recipe(
        detector=detector, pose={"use": "landmark-pnp"}, align={"size": SIDE, "margin": 0.3}, normalizer={"use": "red"}
    )
    cli("normalize", photos / "a.jpg", "-r", path, "--sheet", "--out", "out")
    (halves,) = pairs(tmp_path / "out" / "sheet.jpg")
    with Image.open(tmp_path / "out" / "views" / "a-0.png") as view:
        aligned = np.asarray(view, dtype=int)
    for half in halves:
        assert abs(half - aligned).mean() < 5  # of JPEG; a crop with a margin added is off by more than 30


def test_the_sheet_shows_what_was_rejected_in_a_frame(cli, write_recipe, photos, tmp_path):
    path = write_recipe(**{**TURNING, "normalizer": {**TURNING["normalizer"], "accept": {"max_yaw": 0}}})
    cli("normalize", photos / "c.png", "-r", path, "--out", "out", "--sheet")
    ((before, after),) = pairs(tmp_path / "out" / "sheet.jpg")
    middle = slice(SIDE // 3, 2 * SIDE // 3)
    assert abs(before[middle, middle] - (0, 0, 255)).max() < 8  # blue as it was
    assert abs(after[middle, middle] - (255, 0, 0)).max() < 8  # red as it was returned
    assert not list((tmp_path / "out").glob("normalize.partial*"))


def test_the_sheet_survives_an_interruption(cli, write_recipe, photos, tmp_path, monkeypatch):
    calls = []

    def interrupted(self, batch, faces):
        calls.append(len(faces))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return turned(self, batch, faces)

    turned = fakes.RedFrontal.__call__
    monkeypatch.setattr(fakes.RedFrontal, "__call__", interrupted)
    command = ("normalize", photos, "-r", write_recipe(**TURNING), "--batch-size", "1", "--out", "out")
    cli(*command, code=130)  # without a sheet
    assert "1 of 3 inputs are done" not in cli(*command, "--sheet").stderr  # what has no pair is drawn, from the cache
    assert calls == [1, 1, 1, 1]
    assert len(pairs(tmp_path / "out" / "sheet.jpg")) == 3


def test_the_summary_tells_what_became_of_the_faces(cli, write_recipe, photos):
    def told(*changes):
        options = [word for change in changes for word in ("--set", change)]
        return cli("normalize", photos, "-r", path, "--out", "out", "--overwrite", *options).stderr

    path = write_recipe(**TURNING)
    assert "turned 3, not turned 0, failed 0, rejected 0\n" in told()
    rejected = told("normalizer.accept.max_yaw=0")
    assert "turned 0, not turned 0, failed 0, rejected 3 (yaw 3)\n" in rejected
    assert "no face was turned: all that were tried were rejected" in rejected
    left = told("normalizer.no_pose=keep", "normalizer.above_yaw=33", "normalizer.above_pitch=12")
    assert "turned 0, not turned 3, failed 0, rejected 0\n" in left
    assert "warning: no face was turned: none is beyond the gate; normalizer.above_yaw is 33 degrees" in left
    assert "normalizer.above_pitch is 12" in left
    failed = told("normalizer.fails_on=[0]")
    assert "warning: the normalizer gave nothing for 1 of 3 faces" in failed


LONG = ["漢" * 80, "x" * 240, "é" * 110, "👩🏽" * 30]


@pytest.mark.parametrize("stem", LONG, ids=["Han", "ASCII", "Latin", "emoji"])
def test_long_names_are_cut_and_stay_different(cli, write_recipe, tmp_path, stem):
    folder = tmp_path / "long"
    folder.mkdir()
    names = [stem, f"{stem[:-1]}b"]
    for name in names:
        Image.new("RGB", (16, 16), "blue").save(folder / f"{name}.png")
    cli("normalize", "long", "-r", write_recipe(**TURNING), "--out", "out", "--sheet")
    views = [row["view"] for row in rows(tmp_path / "out")]
    assert len(set(views)) == 2
    assert all((tmp_path / "out" / view).is_file() for view in views)
    cli("predict", "long", "-r", write_recipe(), "--annotate", "marked")
    assert len(list((tmp_path / "marked").iterdir())) == 2


def test_a_refused_start_leaves_nothing(cli, write_recipe, photos, tmp_path):
    weights = "hf://nobody/nothing/model.safetensors@v1#sha256=" + "0" * 64
    path = write_recipe(**{**TURNING, "pose": {"use": "weighty", "weights": weights}})
    cli("normalize", photos, "-r", path, "--out", "new/out", code=2)
    assert not (tmp_path / "new").exists()


def test_all_weights_that_are_missing_are_told_at_once(cli, write_recipe, photos):
    digests = [digit * 64 for digit in "12"]
    names = [f"hf://nobody/model-{digest[0]}/model.safetensors@v1#sha256={digest}" for digest in digests]
    judge = {"use": "weighty-colour", "weights": names[1], "min_cosine": 0.5}
    never = {"use": "weighty-colour", "weights": "hf://nobody/model-3/model.safetensors@v1#sha256=" + "3" * 64}
    path = write_recipe(
        pose={"use": "weighty", "weights": names[0]},
        normalizer={"use": "red", "accept": {"identity": judge}},
        encoders={"colour": never},
    )
    told = cli("normalize", photos, "-r", path, "--out", "out", code=2).stderr
    assert all(f"(SHA-256 {digest})" in told for digest in digests)
    assert "model-3" not in told  # normalize builds no encoder of the recipe
    assert f"run `ferkit weights fetch {path}`, or allow it" in told
    assert "ferkit train" not in told
    told = cli("predict", photos, "-r", path, "--set", "align.size=20", code=2).stderr
    assert all(f"model.safetensors of nobody/model-{n} at v1" in told for n in (1, 2, 3))
    assert f"`ferkit weights fetch {path}` with the same --set" in told


def test_a_file_in_the_way_is_told(cli, write_recipe, photos, tmp_path):
    path = write_recipe(**TURNING)
    (tmp_path / "afile").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "views").write_text("precious")
    for out, taken in (("afile", "afile"), ("afile/out", "afile"), ("out", "out/views")):
        told = cli("normalize", photos, "-r", path, "--out", out, code=2).stderr
        assert f": {taken} is a file: name another folder" in told
        assert "Errno" not in told


def test_another_version_of_the_normalizer_is_refused(cli, write_recipe, photos, monkeypatch):
    def broken(self, batch, faces):
        raise RuntimeError("out of memory")

    command = ("normalize", photos, "-r", write_recipe(**TURNING), "--batch-size", "1", "--out", "out")
    monkeypatch.setattr(fakes.RedFrontal, "version", "diffusers 1", raising=False)
    cli("normalize", photos / "c.png", *command[2:])
    turned, calls = fakes.RedFrontal.__call__, []

    def once(self, batch, faces):
        calls.append(len(faces))
        return turned(self, batch, faces) if len(calls) == 1 else broken(self, batch, faces)

    monkeypatch.setattr(fakes.RedFrontal, "__call__", once)
    monkeypatch.setenv("FERKIT_CACHE", "another")
    told = cli(*command, "--overwrite", code=1).stderr  # a component failed on the way
    assert "what is done is in out/normalize.partial.jsonl; the same command goes on" in told
    assert "out of memory" in told
    monkeypatch.setattr(fakes.RedFrontal, "__call__", turned)
    monkeypatch.setattr(fakes.RedFrontal, "version", "diffusers 2")
    told = cli(*command, code=2).stderr
    assert "was begun with other normalizer version" in told and "--overwrite" in told
    cli(*command, "--overwrite")


def test_results_print_shortly(registry, photos):
    made = fakes.recipe(**TURNING)
    fer = ferkit.pipeline(made, registry=registry)
    (found,) = fer.normalize([str(photos / "c.png")])
    assert repr(found.faces[0]) == "NormalizedFace(0, turned)"
    assert repr(found).endswith("c.png: turned 1, not turned 0, failed 0, rejected 0)")


def test_a_pattern_that_matches_nothing_has_a_line(cli, write_recipe, tmp_path):
    cli("normalize", "nothing*", "-r", write_recipe(**TURNING), "--out", "out", code=1)
    assert rows(tmp_path / "out")[0]["error"] == "unreadable: no file matches nothing*: check the pattern"
