"""Processes: several that train together, and one that is stopped from outside or has no room left."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from ferkit import FerkitError

START = """
import signal
from ferkit.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
main()
"""
TOGETHER = """
import json
import os
from pathlib import Path

from ferkit.cli import main
from ferkit.training.trainer import Trainer

assert os.environ["WORLD_SIZE"] == "2"
run = Trainer.run


def told(self):
    rows = run(self)
    figures = json.dumps([row["validation"] for row in rows])
    Path(__file__).with_name(f"figures-{os.environ['RANK']}.json").write_text(figures)
    return rows


Trainer.run = told
main()
"""
LIMIT = 300


def environment():
    """One thread a process; no plugin but those that are needed."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "FERKIT_PLUGINS": "ferkit-timm"}


@pytest.fixture
def train_together(tmp_path):
    """Train a recipe's file in two processes, and see that they end well; returns the run's folder."""
    (tmp_path / "together.py").write_text(TOGETHER)

    def run(path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", port]
        command = [str(tmp_path / "together.py"), "train", str(path), "--out", str(tmp_path / "two"), "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", *launch, *command],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / "stderr.txt").write_text(done.stderr)
        return tmp_path / "two"

    return run


@pytest.mark.parametrize("settings", [{"learn": {"vit": 1}}, {"draws": 2}], ids=["learning", "cached"])
def test_two_processes_train_as_one_does(settings, recipe, train, train_together, write_recipe, history):
    augment = {"erase": 0.3}
    path = write_recipe(recipe(training={"epochs": 2, "batch_size": 16, "augment": augment, **settings}))
    two, one = train_together(path), train(str(path), "one")[0]
    for file in one.glob("*.safetensors"):
        torch.testing.assert_close(load_file(two / file.name), load_file(file), atol=2e-4, rtol=2e-3)
    for ours, theirs in zip(history(two), history(one), strict=True):
        assert ours["train"] == pytest.approx(theirs["train"], rel=1e-3)
        assert ours["validation"] == pytest.approx(theirs["validation"], rel=1e-3)
    train_together(path)  # it is finished: nobody waits for the others


def test_processes_agree_on_figures_and_one_of_them_tells(
    recipe, train_together, write_recipe, checkpoints, faces, tmp_path
):
    """Else one stops and the other waits. Each has seen other faces, so the statistics of its batch norms are others."""
    (faces / "train" / "neutral" / "broken.png").write_bytes(b"broken")
    settings = {"learn": {"one": 1}, "epochs": 2, "batch_size": 16, "lr": 0.05}
    train_together(write_recipe(recipe(encoders={"one": checkpoints["test_resnet"]}, training=settings)))
    first, second = ((tmp_path / f"figures-{rank}.json").read_text() for rank in range(2))
    assert first == second
    told = (tmp_path / "stderr.txt").read_text()
    assert told.count("1 of 49 pictures can't be read") == 1
    assert told.count("Use it: ferkit predict") == 1


@pytest.mark.parametrize(
    ("number", "settings"),
    [
        (signal.SIGINT, {"learn": {"vit": 1}, "workers": 1, "epochs": 12}),
        (signal.SIGKILL, {"epochs": 40}),
    ],
    ids=["ctrl-c", "kill"],
)
def test_a_command_that_was_stopped_goes_on(number, settings, recipe, train, write_recipe, history, tmp_path):
    path = write_recipe(recipe(head={"use": "mlp", "dropout": 0.5}, training={"batch_size": 16, **settings}))
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", START, "train", str(path), "--out", str(out), "--device", "cpu"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + LIMIT
    while not (out / "history.jsonl").exists() or (out / "history.jsonl").read_bytes().count(b"\n") < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does: its workers get it, too
    stderr = process.communicate(timeout=LIMIT)[1]
    assert "Traceback" not in stderr
    if number == signal.SIGINT:
        assert process.returncode == 130, stderr
        assert f"interrupted; the same command goes on from {out}" in stderr
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (out / "metrics.json").exists()
    begun = len(history(out))
    train(str(path))
    whole, _ = train(str(path), "whole")
    assert begun < len(history(whole))
    assert history(out) == history(whole)
    ours, theirs = load_file(out / "head.safetensors"), load_file(whole / "head.safetensors")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@contextmanager
def no_larger_than(size):
    """Files of this process can't grow beyond ``size`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("keep", "file"), [("best", r"best\.safetensors"), ("last", r"checkpoint\.safetensors")])
def test_a_full_disk_is_told_and_the_run_goes_on_later(keep, file, recipe, train, history, tmp_path):
    made = recipe(training={"learn": "all", "epochs": 2, "batch_size": 16, "keep": keep})
    whole, _ = train(made, "whole")
    with (
        no_larger_than(200_000),
        pytest.raises(FerkitError, match=rf"{file} can't be written \(.*\): make room, and run the same command again"),
    ):
        train(made)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != "history.jsonl"] == []
    run, _ = train(made)
    assert history(run) == history(whole)


def test_a_cache_without_room_is_told(recipe, train, cache):
    with no_larger_than(20_000), pytest.raises(FerkitError, match=r"the cache .* can't be written"):
        train(recipe())
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    train(recipe())
