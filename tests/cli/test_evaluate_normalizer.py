"""``ferkit evaluate-normalizer``: what it prints, its exit codes, and that it goes on after a stop."""

import json

import pytest
from PIL import Image

from ferkit.journal import Journal

RED = {"pose": {"use": "fixed"}, "normalizer": {"use": "red", "above_yaw": 30}}


@pytest.fixture
def data(tmp_path):
    """Two crops each of three classes, whose colour is what the fake encoder takes for their label."""
    for label, colour in (("happiness", "lime"), ("neutral", "red"), ("sadness", "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(2):
            Image.new("RGB", (16, 16), colour).save(tmp_path / "data" / label / f"{n}.png")
    return ["--data", "folder:data", "--set", "data.crops=true", "--resamples", "200", "--out", "report"]


def test_it_tells_who_was_turned_and_what_became_of_the_expression(cli, write_recipe, data, tmp_path):
    recipe = write_recipe(**RED)
    told = cli("evaluate-normalizer", recipe, *data)
    assert "warning: how far faces are turned afterwards is told by ferkit-fakes:fixed 1.0, by which" in told.stderr
    assert "5 of 6 faces were given to the normalizer (0 missed, 1 left alone), 5 came back" in told.stderr
    assert "drift to neutral" in told.stdout and "cosine colour" in told.stdout and "beyond 90" in told.stdout
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["returned"]["judge"]["lost"] == 3 and metrics["n_not_turned"] == 1
    write_recipe("judge.yaml", encoders={"flat": {"use": "colour", "scale": 0.0}})
    told = cli(
        "evaluate-normalizer", recipe, *data, "--pose", "{use: landmark-pnp}", "--judge", "judge.yaml", "--overwrite"
    )
    assert "warning" not in told.stderr and "cosine flat" in told.stdout
    origin = json.loads((tmp_path / "report" / "metrics.json").read_text())["provenance"]
    assert origin["pose"]["estimator"] == "ferkit:landmark-pnp 0.1.0" and origin["judge"]["encoders"] == ["flat"]


def test_an_unreadable_picture_is_counted_and_exits_1(cli, write_recipe, data, tmp_path):
    (tmp_path / "data" / "sadness" / "0.png").write_bytes(b"no picture")
    told = cli("evaluate-normalizer", write_recipe(**RED), *data, code=1)
    assert "1 pictures can't be read, first: not_an_image: " in told.stderr and "(1 missed, " in told.stderr


@pytest.mark.parametrize(
    "changes, more, message",
    [
        ({}, (), "the recipe test has no normalizer, so there is nothing to turn faces with"),
        (RED, ("--pose", "{use: "), "--pose {use: : write NAME, or {use: NAME, option: value}"),
        (RED, ("--pose", "fixed", "--judge", "nobody"), "there is no recipe 'nobody'"),
        (RED, ("--split", "test"), "no split 'test'"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(cli, write_recipe, data, tmp_path, changes, more, message):
    assert message in cli("evaluate-normalizer", write_recipe(**changes), *data, *more, code=2).stderr
    assert not (tmp_path / "report").exists()


def test_an_interrupted_evaluation_says_where_it_goes_on_from(cli, write_recipe, data, monkeypatch):
    appended = Journal.append

    def stop(self, record):
        appended(self, record)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        told = cli("evaluate-normalizer", write_recipe(**RED), *data, code=130)
    assert "interrupted: what is done is in report/edits.partial.jsonl; the same command goes on" in told.stderr
    cli("evaluate-normalizer", "recipe.yaml", *data)
