"""A run that was stopped ends as one that was not, bit for bit."""

import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from ferkit import FerkitError
from ferkit.training import checkpoint
from ferkit.training.live import Quiet

LEARNING = {
    "learn": {"vit": 2},
    "epochs": 3,
    "batch_size": 16,
    "ema": 0.9,
    "sampling": "balanced",
    "augment": {"mixup": 0.4, "erase": 0.5},
    "checkpoint_minutes": 1e-6,
}
CACHED = {"draws": 2, "epochs": 3, "batch_size": 16, "checkpoint_minutes": 1e-6}
HEAD = {"use": "mlp", "dropout": 0.5}


def check_equal(run, whole):
    """Every bit of the weights, and every word of the card."""
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in run.iterdir()) == names
    assert "head.safetensors" in names
    for name in names:
        if name.endswith(".safetensors"):
            ours, theirs = load_file(run / name), load_file(whole / name)
            assert ours.keys() == theirs.keys()
            assert [key for key, value in theirs.items() if not torch.equal(ours[key], value)] == []
    assert (run / "README.md").read_text() == (whole / "README.md").read_text()


class Stopped(Exception):
    pass


def stop_at(monkeypatch, step, how):
    """Stop in the ``step``-th step that is made from now on."""
    made = []

    def count(self, loss):
        made.append(loss)
        if len(made) == step:
            how()

    monkeypatch.setattr(Quiet, "step", count)


def crash():
    raise Stopped


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "settings", [LEARNING, LEARNING | {"workers": 1}, CACHED], ids=["learning", "worker", "cached"]
)
def test_a_stopped_run_ends_as_one_that_was_not(settings, recipe, train, history, monkeypatch):
    made = recipe(training=settings, head=HEAD)
    whole, _ = train(made, "whole")
    # in the second epoch; in the first step of the third, whose checkpoint is that of the epoch before; in the second
    for step, how, error in ((5, interrupt, KeyboardInterrupt), (2, crash, Stopped), (2, crash, Stopped)):
        with monkeypatch.context() as patch:
            stop_at(patch, step, how)
            with pytest.raises(error):
                train(made)
    run, _ = train(made)
    assert history(run) == history(whole)
    check_equal(run, whole)


def test_a_crash_before_the_first_checkpoint_begins_anew(recipe, train, history, monkeypatch):
    made = recipe(training={"learn": "all", "epochs": 2, "batch_size": 16}, head=HEAD)
    whole, _ = train(made, "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 2, crash)
        with pytest.raises(Stopped):
            train(made)
    assert not (whole.parent / "run" / "checkpoint.safetensors").exists()
    run, _ = train(made)
    check_equal(run, whole)
    assert history(run) == history(whole)


def test_ctrl_c_saves_and_is_left_to_others_afterwards(recipe, train, monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    stop_at(monkeypatch, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(training={"epochs": 2, "batch_size": 16}))
    state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (0, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_stops_at_once(recipe, train, monkeypatch, tmp_path):
    def twice():
        interrupt()
        interrupt()

    stop_at(monkeypatch, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        train(recipe())
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.fixture
def stopped(recipe, train, monkeypatch, tmp_path):
    """A recipe, and its run that was interrupted in its second epoch."""
    made = recipe(training={"epochs": 2, "batch_size": 16})
    with monkeypatch.context() as patch:
        stop_at(patch, 4, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(made)
    return made, tmp_path / "run"


def test_another_recipe_does_not_go_on(stopped, train):
    made, _ = stopped
    other = made | {"seed": 1}
    with pytest.raises(FerkitError, match=r"run holds a run of another recipe or other data: name another --out"):
        train(other)
    _, metrics = train(other, overwrite=True)
    assert metrics["epochs"] == 2


def test_other_data_does_not_go_on(stopped, train, faces, portraits):
    made, _ = stopped
    portraits[60][1].save(faces / "train" / "neutral" / "more.png")
    with pytest.raises(FerkitError, match="of another recipe or other data"):
        train(made)


def test_what_decides_nothing_may_change_in_between(stopped, train, recipe):
    settings = {"epochs": 2, "batch_size": 16, "workers": 1, "checkpoint_minutes": 1, "trackers": ["tensorboard"]}
    _, metrics = train(recipe(training=settings))
    assert metrics["epochs"] == 2


def without_a_key(state):
    del state["optimizer"]


def with_another_tensor(state):
    name = min(state["learnt"])
    state["learnt"][name] = state["learnt"][name].flatten()[:1]  # which could be spread over the whole of it


def with_another_optimizer(state):
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)


def with_another_progress(state):
    state["progress"]["epochs"] = 1


@pytest.mark.parametrize("change", [without_a_key, with_another_tensor, with_another_optimizer, with_another_progress])
def test_a_checkpoint_of_something_else_is_told(change, stopped, train):
    made, run = stopped
    path = run / "checkpoint.safetensors"
    state = checkpoint.load(path)
    change(state)
    checkpoint.save(path, state)
    with pytest.raises(
        FerkitError, match=r"checkpoint\.safetensors is damaged \(.+\): put it back, or begin anew with --overwrite"
    ):
        train(made)


@pytest.mark.parametrize("file", ["checkpoint.safetensors", "best.safetensors"])
def test_damaged_files_are_told_before_anything_is_trained(file, stopped, train):
    made, run = stopped
    path = run / file
    whole = path.read_bytes()
    for content in (whole[:-100], b"no checkpoint", b"", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(FerkitError, match=rf"{file} is damaged \(.+\): put it back, or begin anew"):
            train(made)
    save_file({"0": torch.zeros(1)}, path, {"state": "[1, 2]"})
    with pytest.raises(FerkitError, match=rf"{file} is damaged"):
        train(made)
    path.write_bytes(whole)
    assert train(made)[1]["epochs"] == 2


def test_patience_holds_across_a_stop(recipe, train, history, monkeypatch):
    made = recipe(training={"epochs": 12, "batch_size": 16, "lr": 1e-9, "patience": 2})
    whole, metrics = train(made, "whole")
    assert metrics["epochs"] == metrics["epoch"] + 2 < 12
    with monkeypatch.context() as patch:
        stop_at(patch, 4, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(made)
    run, _ = train(made)
    assert history(run) == history(whole)
