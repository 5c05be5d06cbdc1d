"""The folder of a run: what of it is removed and when, who trains in it, and what a finished one is worth."""

import os
import stat

import pytest
from typer.testing import CliRunner

from ferkit import FerkitError, RecipeError
from ferkit.cli import app
from ferkit.recipe import load_recipe
from ferkit.training.live import Quiet


@pytest.fixture
def umask():
    """A umask that leaves files readable by all: tools that make private ones show."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_files_of_a_run_and_of_the_cache_are_as_readable_as_others(umask, recipe, train, cache):
    run, _ = train(recipe(training={"epochs": 1}))
    files = [path for folder in (run, cache) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".yaml", ".json", ".jsonl", ".md"}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {path.name: 0o644 for path in files}


@pytest.fixture
def finished(recipe, train):
    """A recipe, its finished run and the content of its files; beside them a file of the user's."""
    made = recipe(training={"epochs": 1})
    run, metrics = train(made)
    (run / "thesis.txt").write_text("precious")
    return made, run, metrics


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_overwrite_removes_nothing_before_all_is_known_to_be_good(finished, train, recipe, write_faces):
    made, run, _ = finished
    before = content(run)
    few = {"use": "folder", "path": str(write_faces("few", train=range(3))), "crops": True}
    for wrong in (
        made | {"head": {"use": "hedd"}},
        made | {"training": {"learn": {"vit": 99}}},
        made | {"data": few},
        made | {"training": {"objectives": {"distillation": 1}, "teacher": "nobody"}},
    ):
        with pytest.raises(FerkitError):
            train(wrong, overwrite=True)
        assert content(run) == before


def test_overwrite_leaves_what_no_run_has_written(finished, train):
    made, run, _ = finished
    (run / "logs").mkdir()
    (run / "logs" / "events").write_text("of a tracker")
    (run / "encoder-old.safetensors").write_bytes(b"learnt before")
    (run / ".checkpoint.safetensors.0123abcd.tmp").write_bytes(b"half writ")
    train(made | {"seed": 1}, overwrite=True)
    assert (run / "logs" / "events").exists()
    assert content(run).keys() == {
        "head.safetensors", "recipe.yaml", "metrics.json", "README.md", "history.jsonl", "thesis.txt"
    }  # fmt: skip


def test_overwrite_spares_what_the_run_is_made_from(finished, train, recipe, write_recipe):
    made, run, _ = finished
    before = content(run)
    settings = {"epochs": 1, "objectives": {"distillation": 1}, "teacher": str(run)}
    weights = recipe(head__weights=str(run / "head.safetensors"))
    for source in (str(run), str(run / "recipe.yaml"), weights, made | {"training": settings}):
        with pytest.raises(
            FerkitError, match=r"--overwrite would remove .*run/head\.safetensors.*: name another --out"
        ):
            train(source, overwrite=True, overrides={"seed": 1})
        assert content(run) == before
    alone = write_recipe(made, "run/recipe.yaml")  # a recipe of the user's own, where a run will be
    with pytest.raises(FerkitError, match=r"--overwrite would remove .*run/recipe\.yaml"):
        train(str(alone), overwrite=True)


def test_two_trainings_in_one_folder(recipe, train, monkeypatch):
    refusals = []

    def meanwhile(self, loss):
        with pytest.raises(FerkitError, match=r"another process trains in .*run: wait for it, or name another --out"):
            train(made, overwrite=True)
        refusals.append(loss)

    made = recipe(training={"epochs": 1, "batch_size": 48})
    monkeypatch.setattr(Quiet, "step", meanwhile)
    run, _ = train(made)
    assert len(refusals) == 1
    assert not (run / ".lock").exists()


def test_a_finished_run_is_done(finished, train, monkeypatch):
    made, _, metrics = finished

    def learner(*_):
        raise AssertionError("nothing is trained")

    monkeypatch.setattr("ferkit.training.train.Learner", learner)
    assert train(made)[1] == metrics
    with pytest.raises(FerkitError, match="of another recipe or other data"):
        train(made | {"seed": 1})


def test_a_finished_run_of_data_that_changed(finished, train, faces, portraits):
    made, _, _ = finished
    portraits[60][1].save(faces / "train" / "neutral" / "more.png")
    with pytest.raises(FerkitError, match=r"its data has changed since: name another --out, or .* --overwrite"):
        train(made)


def test_a_finished_run_that_lacks_something(finished, train):
    made, run, _ = finished
    (run / "README.md").write_text("completed")  # which is what it is for
    train(made)
    (run / "recipe.yaml").write_text("ferkit: 1")
    with pytest.raises(
        FerkitError, match=r"recipe\.yaml of this finished run was altered: put it back, or .*overwrite"
    ):
        train(made)
    (run / "recipe.yaml").unlink()
    with pytest.raises(FerkitError, match=r"recipe\.yaml of this finished run is missing"):
        train(made)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"\xff\xfe", b'{"files": 3}', b"null"])
def test_damaged_metrics(damage, finished, train):
    made, run, _ = finished
    (run / "metrics.json").write_bytes(damage)
    with pytest.raises(FerkitError, match=r"metrics\.json is not what a finished run leaves .* --overwrite"):
        train(made)


def test_the_command_tells_of_a_finished_run(finished, write_recipe):
    made, run, _ = finished
    done = CliRunner().invoke(app, ["train", str(write_recipe(made)), "--out", str(run), "--device", "cpu"])
    assert (done.exit_code, done.stderr) == (0, f"{run}: already finished, nothing done\n")


def test_places_that_can_not_be_a_folder(recipe, train, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FerkitError, match=r"--out .*file/run: .*file is a file: name another folder"):
        train(recipe(), "file/run")
    with pytest.raises(FerkitError, match="link is a link to nothing: name a folder"):
        train(recipe(), "link")


def test_a_training_that_did_not_begin_leaves_nothing(recipe, train, tmp_path):
    with pytest.raises(FerkitError):
        train(recipe(data__path=str(tmp_path / "nowhere")), "new/run")
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(FerkitError):
        train(recipe(data__path=str(tmp_path / "nowhere")), "there/run")
    assert (tmp_path / "there").is_dir() and not list((tmp_path / "there").iterdir())


def test_a_link_to_a_folder_is_one(recipe, train, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for seed in (0, 1):
        train(recipe(seed=seed, training={"epochs": 1}), "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "head.safetensors").exists()


def test_a_run_that_is_not_finished_says_how_to_go_on(recipe, train, tmp_path, monkeypatch):
    def stop(self, loss):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Quiet, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe())
    monkeypatch.chdir(tmp_path)
    for name in ("run", str(tmp_path / "run")):
        with pytest.raises(RecipeError, match="run's training is not finished: give the `ferkit train` command"):
            load_recipe(name)


def test_weights_that_are_not_there_name_the_option(recipe, train, monkeypatch):
    monkeypatch.delenv("FERKIT_OFFLINE", raising=False)
    weights = "hf://nobody/nothing/model.safetensors@v1#sha256=" + "0" * 64
    with pytest.raises(FerkitError, match="`ferkit train --download`"):
        train(recipe(encoders__vit__weights=weights))
