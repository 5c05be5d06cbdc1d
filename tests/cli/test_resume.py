"""Long runs: stopped in every way, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import fakes
import pytest
import yaml
from PIL import Image

import ferkit
from ferkit.journal import Journal

SLOW_PLUGIN = """
from ferkit import Component, Config, hookimpl

@hookimpl
def ferkit_components():
    return [Component("encoder", "slow", Config, "slow_target:Slow", "waits", provides=frozenset({"logits"}))]
"""
SLOW_TARGET = """
import os, time
import torch
from ferkit import EncoderOutput

torch.set_num_threads(1)

class Slow:
    dim, token_dim = 3, None

    def __init__(self, config, context):
        self.wait = float(os.environ.get("SLOW", 0))

    def __call__(self, pixels):
        time.sleep(self.wait * len(pixels))
        mean = pixels.mean((2, 3))
        return EncoderOutput(mean, logits=mean)
"""
START = """
import signal
from ferkit.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
main()
"""
COUNT = 12


def prepare(folder):
    """Pictures, one of them broken, a recipe, and a plugin whose encoder takes its time."""
    fakes.install(folder / "installed", "slow-plugin", SLOW_PLUGIN)
    (folder / "installed" / "slow_target.py").write_text(SLOW_TARGET)
    recipe = fakes.recipe(encoders={"slow": {"use": "slow"}})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "photos").mkdir()
    for index in range(COUNT):
        Image.new("RGB", (16, 16), (20 * index, 100, 50)).save(folder / "photos" / f"{index:02}.png")
    (folder / "photos" / "05.png").write_bytes(b"broken")


def start(folder, *arguments, wait=0.0):
    """Start ``ferkit predict`` as a process of its own, ``wait`` seconds a picture."""
    search = os.pathsep.join([str(folder / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = ["predict", "photos", "-r", "recipe.yaml", "--batch-size", "1", "--out", "out.csv", *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", START, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search, "FERKIT_PLUGINS": "slow-plugin", "SLOW": str(wait)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def slow(tmp_path):
    """:func:`start` in a prepared folder."""
    prepare(tmp_path)
    return partial(start, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing stopped writes."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    process = start(folder)
    process.communicate(timeout=120)
    assert process.returncode == 1
    return read_out(folder)


def wait_for_lines(path, count, process):
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_out(folder):
    return [(folder / f"out.csv{suffix}").read_bytes() for suffix in ("", ".errors.csv", ".meta.json")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_result_of_one_that_was_not(slow, whole, tmp_path, number):
    journal = tmp_path / "out.csv.partial.jsonl"
    process = slow("--annotate", "copies", wait=0.4)
    wait_for_lines(journal, 5, process)  # the header and four inputs
    process.send_signal(number)
    stderr = process.communicate(timeout=120)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "interrupted: what is done is in out.csv.partial.jsonl; the same command goes on from there" in stderr
        assert "Traceback" not in stderr
    assert not (tmp_path / "out.csv").exists()
    done = len(journal.read_bytes().splitlines()) - 1
    assert 4 <= done < COUNT
    (tmp_path / "copies" / "01.png").unlink()  # as if it had not been written: it is made again

    again = slow("--annotate", "copies")
    stderr = again.communicate(timeout=120)[1]
    assert again.returncode == 1  # 05.png
    assert f"going on with out.csv.partial.jsonl: {done - 1} of {COUNT} inputs are done" in stderr
    assert f"{COUNT - 1} images, {COUNT - 1} faces, 1 error" in stderr
    assert not journal.exists()
    assert len(list((tmp_path / "copies").iterdir())) == COUNT - 1

    assert read_out(tmp_path) == whole
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_two_processes_do_not_write_one_result(slow, tmp_path):
    first = slow(wait=10)
    wait_for_lines(tmp_path / "out.csv.partial.jsonl", 1, first)
    second = slow()
    stderr = second.communicate(timeout=120)[1]
    assert second.returncode == 2
    assert "another process is writing out.csv.partial.jsonl: wait for it, or choose another output" in stderr
    first.kill()
    first.communicate()
    third = slow()  # the lock of a killed process does not last
    assert third.wait(120) == 1
    assert (tmp_path / "out.csv").exists()


@pytest.fixture
def begun(cli, write_recipe, photos, tmp_path, registry):
    """The journal of a run of which a.jpg and b.png are done."""
    recipe = write_recipe()
    journal = tmp_path / "out.csv.partial.jsonl"
    fer = ferkit.pipeline(str(recipe), registry=registry)
    origin = fer.provenance
    lines = [{"ferkit_journal": 1, **{key: origin[key] for key in ("recipe_digest", "distributions", "weights")}}]
    for name in ("a.jpg", "b.png"):
        status = (photos / name).stat()
        (row,) = fer(f"photos/{name}").to_dicts()
        row |= dict.fromkeys(("detection_score", "yaw", "pitch", "roll", "pose_score"))
        row["flags"] = "from the journal"
        lines.append(
            {"source": f"photos/{name}", "mark": [status.st_size, status.st_mtime_ns], "rows": [row], "error": None}
        )
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return journal


def flags(tmp_path):
    return [line.rsplit(",", 1)[1] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]


KEPT, NEW = "from the journal", "no_pose;whole_image"


def test_what_is_done_is_not_done_again(cli, begun, tmp_path):
    result = cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv")
    assert "going on with out.csv.partial.jsonl: 2 of 3 inputs are done" in result.stderr
    assert flags(tmp_path)[1:] == [KEPT, NEW]


def test_a_half_written_last_line_is_dropped(cli, begun, tmp_path):
    begun.write_bytes(begun.read_bytes()[:-20])
    cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv")
    assert flags(tmp_path)[0] == KEPT
    assert flags(tmp_path)[1:] == [NEW, NEW]


def test_a_changed_file_is_done_again(cli, begun, photos, tmp_path):
    Image.new("RGB", (20, 16), "blue").save(photos / "b.png")
    cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv")
    assert flags(tmp_path)[1:] == [NEW, NEW]
    assert "photos/b.png,0,0.0,0.0,20.0,16.0,,,,,,sadness" in (tmp_path / "out.csv").read_text()


def test_rows_of_a_journal_of_before_have_every_column(cli, begun, tmp_path):
    lines = [json.loads(line) for line in begun.read_text().splitlines()]
    for line in lines[1:]:
        del line["rows"][0]["pose_score"]
    begun.unlink()
    (tmp_path / "out.jsonl.partial.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["flags"] for row in found] == [KEPT, KEPT, NEW]
    assert [row["pose_score"] for row in found] == [None] * 3


def test_what_could_not_be_read_is_tried_again(cli, begun, tmp_path):
    text = begun.read_text().splitlines()
    last = json.loads(text[-1]) | {"rows": [], "error": ["unreadable", "the disk was away"]}
    begun.write_text("\n".join([*text[:-1], json.dumps(last), ""]))
    cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv")
    assert flags(tmp_path)[1:] == [NEW, NEW]


def test_another_recipe_is_refused_and_overwrite_begins_anew(cli, begun, tmp_path):
    before = begun.read_bytes()
    arguments = ("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv", "--set", "align.size=32")
    result = cli(*arguments, code=2)
    assert "out.csv.partial.jsonl was begun with another recipe (digest " in result.stderr
    assert "or add --overwrite to drop it and begin anew" in result.stderr
    assert begun.read_bytes() == before
    cli(*arguments, "--overwrite")
    assert KEPT not in flags(tmp_path)


def test_other_versions_are_refused(cli, begun):
    begun.write_text(begun.read_text().replace('"ferkit-fakes": "1.0"', '"ferkit-fakes": "0.9"'))
    result = cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv", code=2)
    assert "out.csv.partial.jsonl was begun with other distributions: repeat the command" in result.stderr


def test_overwrite_of_a_result_can_be_gone_on_with(cli, begun, tmp_path):
    (tmp_path / "out.csv").write_text("old")
    cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv", "--overwrite")
    assert flags(tmp_path)[1] == KEPT


def test_another_commands_journal_is_not_used_up(cli, begun, tmp_path):
    other = ("predict", "photos/b.png", "-r", "recipe.yaml", "--out", "out.csv")
    before = begun.read_bytes()
    told = cli(*other, code=2).stderr
    assert "out.csv.partial.jsonl has 1 inputs that this command does not name: repeat the command it was begun" in told
    assert begun.read_bytes() == before
    assert "does not name: they are left out" in cli(*other, "--overwrite").stderr
    assert flags(tmp_path) == [KEPT]


@pytest.mark.parametrize("text", ['{"mine": 1}\n', "my notes\n", "\n[1, 2]\n"])
def test_a_foreign_file_is_left_alone(cli, begun, text):
    begun.write_text(text)
    result = cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv", code=2)
    assert "out.csv.partial.jsonl is no journal of this ferkit: move it away" in result.stderr
    assert begun.read_text() == text


@pytest.mark.parametrize("line", ["not json", "5", '{"rows": [{}]}', "[" * 100_000])
def test_a_damaged_line_is_skipped_and_the_others_stay(cli, begun, tmp_path, line):
    lines = begun.read_text().splitlines()
    begun.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    result = cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv")
    assert "going on with out.csv.partial.jsonl: 2 of 3" in result.stderr
    assert KEPT in flags(tmp_path)


def test_a_journal_without_results_does_not_let_a_result_be_replaced(cli, begun, tmp_path):
    begun.write_text(begun.read_text().splitlines()[0] + "\n")
    (tmp_path / "out.csv").write_text("precious")
    assert "out.csv exists" in cli("predict", "photos", "-r", "recipe.yaml", "--out", "out.csv", code=2).stderr
    assert (tmp_path / "out.csv").read_text() == "precious"


def test_a_folder_that_can_not_be_written_is_a_usage_error(cli, write_recipe, photos):
    result = cli("predict", photos, "-r", write_recipe(), "--out", "/proc/out.csv", code=2)
    assert "error: can't write /proc/out.csv.partial.jsonl (" in result.stderr
    assert "): choose a folder you can write to" in result.stderr


def test_a_journal_without_inputs_leaves_no_file(tmp_path):
    path = tmp_path / "out.csv.partial.jsonl"
    with Journal(path) as journal:
        journal.begin({"recipe_digest": "0"})
        assert path.exists()
    assert not path.exists()
