"""``ferkit evaluate`` and ``ferkit compare``: what they print, their exit codes, and that they go on after a stop."""

import json
import os
import subprocess
import sys
import time

import fakes
import pytest
import yaml
from PIL import Image

from ferkit.journal import Journal

SLOW = """
import os, time
import torch
from ferkit import Component, Config, EncoderOutput, hookimpl

class Slow:
    dim, token_dim = 3, None

    def __init__(self, config, context):
        torch.set_num_threads(1)

    def __call__(self, pixels):
        time.sleep(float(os.environ["SLOW"]) * len(pixels))
        mean = pixels.mean((2, 3))
        return EncoderOutput(mean, logits=mean)

@hookimpl
def ferkit_components():
    return [Component("encoder", "slow", Config, "slow_plugin:Slow", "waits", provides=frozenset({"logits"}))]
"""
START = "from ferkit.cli import main; main()"


@pytest.fixture
def data(tmp_path):
    """Crops in the folder ``data``, whose colour is what the fake encoder takes for their label."""
    for label, colour in (("happiness", "lime"), ("neutral", "red"), ("sadness", "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (16, 16), colour).save(tmp_path / "data" / label / f"{n}.png")
    return ["--data", "folder:data", "--set", "data.crops=true", "--resamples", "200"]


def test_a_report_is_written_scored_again_and_compared(cli, write_recipe, data, tmp_path):
    write_recipe()
    write_recipe("flat.yaml", encoders={"colour": {"use": "colour", "scale": 0.0}})  # neutral for every face
    told = cli("evaluate", "recipe.yaml", *data, "--out", "good")
    assert "accuracy 100.0 % [75.8, 100.0] of 12 scored faces, UAR 100.0 %" in told.stderr
    assert "12 (too small)" in told.stdout and "no pose" in told.stdout
    cli("evaluate", "flat.yaml", *data, "--out", "flat")
    cli("evaluate", "--from", "good", "--out", "again", "--resamples", "200")
    for name in ("metrics.json", "report.md", "report.html"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "good" / name).read_text()
    (tmp_path / "data").rename(tmp_path / "gone")
    told = cli("compare", "good", "flat", "--out", "both", "--resamples", "200")
    assert "12 faces are in both, 0 only in A, 0 only in B; 0 gained and 8 lost of 12" in told.stderr
    assert "harm rate 66.7 % (right in A, wrong in B), McNemar's exact p 0.0078" in told.stderr
    assert json.loads((tmp_path / "both" / "comparison.json").read_text())["lost"] == 8


def test_an_unreadable_picture_is_counted_and_exits_1(cli, write_recipe, data, tmp_path):
    (tmp_path / "data" / "sadness" / "0.png").write_bytes(b"no picture")
    told = cli("evaluate", write_recipe(), *data, "--out", "report", code=1)
    assert "1 pictures can't be read, first: not_an_image: " in told.stderr
    assert "91.7 % of all 12, 1 of them missed" in told.stderr
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["n_unreadable"] == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("evaluate", "--out", "r"), "name a recipe or a run, or --from and a report"),
        (
            ("evaluate", "recipe.yaml", "--from", "x", "--out", "r"),
            "--from scores predictions that are there: leave out",
        ),
        (("evaluate", "--from", "nowhere", "--out", "r"), "nowhere is no report of ferkit evaluate"),
        (("evaluate", "recipe.yaml", "--out", "r"), "there is nothing to judge by: name a data set"),
        (("evaluate", "recipe.yaml", "--data", "data", "--out", "r"), "--data data: write NAME:PATH"),
        (("compare", "recipe.yaml", "recipe.yaml"), "recipe.yaml is no report of ferkit evaluate"),
        (("compare", "recipe.yaml", "recipe.yaml", "--data", "folder:nowhere"), "nowhere"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(cli, write_recipe, data, tmp_path, arguments, message):
    write_recipe()
    assert message in cli(*arguments, code=2).stderr
    assert not (tmp_path / "r").exists()


def test_a_report_of_another_recipe_is_refused(cli, write_recipe, data):
    write_recipe()
    cli("evaluate", "recipe.yaml", *data, "--out", "report")
    other = ("evaluate", "recipe.yaml", *data, "--set", "align.size=20", "--out", "report")
    assert "report holds a report that differs in recipe (" in cli(*other, code=2).stderr
    cli(*other, "--overwrite")


def start(folder, wait):
    arguments = ["evaluate", "slow.yaml", "--data", "folder:data", "--set", "data.crops=true", "--batch-size", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", START, *arguments, "--out", "report", "--resamples", "100"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder / "installed"), *sys.path]),
            "FERKIT_PLUGINS": "slow-plugin",
            "SLOW": str(wait),
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def test_a_killed_evaluation_goes_on(data, tmp_path):
    fakes.install(tmp_path / "installed", "slow-plugin", SLOW)
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(fakes.recipe(encoders={"slow": {"use": "slow"}})))
    journal = tmp_path / "report" / "predictions.partial.jsonl"
    process = start(tmp_path, wait=0.5)
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b"\n") < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=120)
    lines = journal.read_text().splitlines()
    kept = json.loads(lines[1])
    kept["rows"][0]["flags"] = "from the journal"
    journal.write_text("\n".join([lines[0], json.dumps(kept), *lines[2:]]) + "\n")
    assert start(tmp_path, wait=0).wait(120) == 0 and not journal.exists()
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (metrics["n"], metrics["accuracy"], metrics["flags"]["from the journal"]) == (12, 1.0, 1)


def test_an_interrupted_evaluation_says_where_it_goes_on_from(cli, write_recipe, data, monkeypatch):
    appended = Journal.append

    def stop(self, record):
        appended(self, record)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        told = cli("evaluate", write_recipe(), *data, "--out", "report", code=130)
        other = cli("compare", "recipe.yaml", "recipe.yaml", *data, "--out", "both", code=130)
    assert "interrupted: what is done is in report/predictions.partial.jsonl; the same command goes on" in told.stderr
    assert "interrupted: what is done is in both/a/predictions.partial.jsonl" in other.stderr
    cli("evaluate", "recipe.yaml", *data, "--out", "report")
