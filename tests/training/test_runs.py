"""A run: what it holds, and that it is used wherever a recipe is."""

import json
import shutil
import weakref

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import ferkit
from ferkit import FerkitError, RecipeError, WeightsError
from ferkit.cli import app
from ferkit.recipe import load_recipe
from ferkit.training.trainer import Trainer

PIXELS = 2e-3  # views are cached in steps of 1/255, which pipelines do not round to


def probabilities(run, paths):
    return ferkit.pipeline(run)(paths).probabilities


@pytest.fixture
def judged(monkeypatch):
    """What every trained model said of the held-out faces when its training was over."""
    found, run = [], Trainer.run

    def recorded(self):
        history = run(self)
        found.append(self.probabilities()[0])
        return history

    monkeypatch.setattr(Trainer, "run", recorded)
    return found


def test_a_head_overfits_64_faces_and_the_run_says_what_it_said(recipe, train, write_faces, judged, tmp_path):
    everything = write_faces("all", train=range(64), validation=range(64))  # it is to learn them by heart
    settings = {"epochs": 60, "lr": 0.01, "batch_size": 32}
    data = {"use": "folder", "path": str(everything), "crops": True, "validation": "validation"}
    run, metrics = train(recipe(head={"use": "mlp"}, data=data, training=settings))
    assert (metrics["validation"]["accuracy"], metrics["validation"]["n"]) == (1.0, 64)
    paths = [str(path) for path in sorted((everything / "validation").rglob("*.png"))]
    found = probabilities(run, paths)
    torch.testing.assert_close(found, judged[0], atol=PIXELS, rtol=0)
    labels = ferkit.pipeline(run).recipe.labels
    assert [labels[column] for column in found.argmax(1)] == [path.split("/")[-2] for path in paths]

    done = CliRunner().invoke(
        app, ["predict", *paths[:3], "--recipe", str(run), "--out", str(tmp_path / "found.csv")], catch_exceptions=False
    )
    assert done.exit_code == 0
    rows = [line.split(",") for line in (tmp_path / "found.csv").read_text().splitlines()]
    column = rows[0].index("label")
    assert [row[column] for row in rows[1:]] == [path.split("/")[-2] for path in paths[:3]]


LEARN = [
    {"learn": {"vit": 1}},
    {"learn": "all", "ema": 0.5},
    {"learn": {"vit": "lora"}},
    {"learn": "all", "keep": "last"},
]


@pytest.mark.parametrize("settings", LEARN, ids=["stage", "ema", "lora", "last"])
def test_a_learnt_encoder_says_in_its_run_what_it_said_when_trained(settings, recipe, train, judged, faces):
    """LoRA's adapters are merged into the weights, which adds up in another order."""
    run, metrics = train(recipe(training={"epochs": 2, "batch_size": 16, "lr": 0.003, **settings}))
    paths = sorted((faces / "validation").rglob("*.png"))
    torch.testing.assert_close(probabilities(run, paths), judged[0], atol=PIXELS, rtol=0)
    assert (run / "encoder-vit.safetensors").exists()
    truth = [path.parent.name for path in paths]
    right = [p.label == label for p, label in zip(ferkit.pipeline(run)(paths), truth, strict=True)]
    assert sum(right) / 16 == metrics["validation"]["accuracy"]


def test_a_run_holds_weights_recipe_figures_and_card(recipe, train):
    run, metrics = train(recipe(training={"learn": {"vit": 1}, "epochs": 2}))
    names = {path.name for path in run.iterdir()}
    assert names == {
        "head.safetensors", "encoder-vit.safetensors", "recipe.yaml", "metrics.json", "README.md", "history.jsonl"
    }  # fmt: skip
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert metrics["data"]["judged_by"] == {
        "samples": 16, "missed": 0, "missed_ids": [], "unreadable": {}, "by_label": {"neutral": 6, "happiness": 5, "sadness": 5},
        "absent_labels": [], "shared": {"groups": 0, "subjects": 0},
    }  # fmt: skip
    assert {label: row["n"] for label, row in metrics["recall"].items()} == metrics["data"]["judged_by"]["by_label"]
    assert metrics["validation"]["uar"] == pytest.approx(sum(row["recall"] for row in metrics["recall"].values()) / 3)
    card = (run / "README.md").read_text()
    assert f"Epoch {metrics['epoch']} of 2" in card
    assert f"accuracy {metrics['validation']['accuracy']:.1%}" in card
    assert "| held out | 16 | 0 | 0 |" in card
    start = "A run of ferkit: of the recipe `test`, the head `linear` and the encoder `vit` learnt on folder."
    assert card.splitlines()[2] == start
    for label, row in metrics["recall"].items():
        assert f"| {label} | {row['n']} | {row['recall']:.1%} |" in card


def test_a_run_tells_what_the_normalizer_made_of_its_faces(recipe, train, write_recipe):
    made = recipe(
        normalizer={"use": "mirror", "above_yaw": 0, "no_pose": "turn", "accept": {"max_yaw": 10}},
        training={"epochs": 1},
    )
    made |= {"detector": {"use": "retinaface"}, "data": {**made["data"], "crops": True}}
    run, metrics = train({**made, "pose": {"use": "landmark-pnp"}})
    told = metrics["data"]["learnt_from"]["decisions"]
    assert told["n"] == 48 == sum(n for name, n in told.items() if name != "n")
    assert told["turned"] > 0 and told["rejected:yaw"] > 0, told
    rejected = told["n"] - told["turned"]
    card = (run / "README.md").read_text()
    assert f"* learnt from (n = 48): turned {told['turned']}, not turned 0, failed 0, rejected {rejected} (" in card
    held = metrics["data"]["judged_by"]["decisions"]
    assert held["n"] == 16 and f"* held out (n = 16): turned {held['turned']}," in card
    path = write_recipe({**made, "pose": {"use": "landmark-pnp"}})
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(run), "--device", "cpu", "--overwrite"])
    assert f"learnt from 48 faces: turned {told['turned']}, not turned 0" in done.stderr


def test_a_run_is_moved_and_stays_what_it_was(recipe, train, faces, tmp_path):
    run, _ = train(recipe(training={"learn": {"vit": 1}, "epochs": 1}))
    paths = sorted((faces / "validation").rglob("*.png"))
    before = probabilities(run, paths)
    moved = tmp_path / "elsewhere" / "mine"
    moved.parent.mkdir()
    shutil.move(run, moved)
    assert torch.equal(probabilities(moved, paths), before)


def test_the_run_s_recipe_is_whole_and_pinned(recipe, train, checkpoints):
    made = recipe(training={"learn": {"vit": 1}, "epochs": 1})
    run, _ = train(made)
    written = yaml.safe_load((run / "recipe.yaml").read_text())
    assert written["encoders"]["vit"]["weights"].startswith(checkpoints["test_vit"]["weights"] + "#sha256=")
    assert written["encoders"]["vit"]["learnt"].startswith("encoder-vit.safetensors#sha256=")
    assert written["head"]["weights"].startswith("head.safetensors#sha256=")
    again = load_recipe(run)
    assert again.framework.training == load_recipe(made).framework.training
    assert load_recipe(again.resolved()).digest == again.digest != load_recipe(made).digest


def test_altered_weights_of_a_run_are_refused(recipe, train):
    run, _ = train(recipe())
    tensors = load_file(run / "head.safetensors")
    save_file({name: value + 1 for name, value in tensors.items()}, run / "head.safetensors")
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        ferkit.pipeline(run)


def test_a_run_is_trained_again(recipe, train, faces, judged):
    """What was learnt before and is frozen now stays: stage by stage, run on run."""
    first, _ = train(recipe(training={"learn": "all", "epochs": 1, "batch_size": 16}), "first")
    again = {"training.learn": {"vit": 1}, "training.lr": 0.01}
    second, _ = train(str(first), "second", overrides=again)
    before, after = (load_file(run / "encoder-vit.safetensors") for run in (first, second))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(("blocks.5.", "norm."))}
    extending = {"extends": str(second), "name": "third", "training": {"learn": "head"}}
    third, _ = train(extending, "third")
    assert (
        "of the recipe `third`, which extends `second`, the head `linear` learnt on"
        in (third / "README.md").read_text()
    )
    assert not (third / "encoder-vit.safetensors").exists()
    paths = sorted((faces / "validation").rglob("*.png"))
    torch.testing.assert_close(probabilities(third, paths), judged[2], atol=PIXELS, rtol=0)
    shutil.move(second, second.parent / "elsewhere")
    with pytest.raises(WeightsError, match=r"not on this machine:\n.*second/encoder-vit\.safetensors"):
        ferkit.pipeline(third)


def test_what_another_encoder_learnt_is_refused(recipe, train, checkpoints):
    run, _ = train(recipe(training={"learn": {"vit": 1}, "epochs": 1}))
    other = recipe(encoders={"one": checkpoints["test_resnet"] | {"learnt": str(run / "encoder-vit.safetensors")}})
    with pytest.raises(WeightsError, match=r"encoder-vit\.safetensors was learnt by another encoder: blocks"):
        train(other, "other")


def test_what_was_learnt_changes_the_recipe_s_digest(recipe, train):
    run, _ = train(recipe(training={"learn": {"vit": 1}, "epochs": 1}))
    overlaid = recipe(encoders__vit__learnt=str(run / "encoder-vit.safetensors"))
    assert load_recipe(overlaid).digest != load_recipe(recipe()).digest
    with pytest.raises(RecipeError, match="must be a reference to a safetensors file, not 5"):
        load_recipe(recipe(encoders__vit__learnt=5))


def test_a_head_for_other_labels_is_refused(recipe, train):
    run, _ = train(recipe())
    weights = str(run / "head.safetensors")
    swapped = recipe(head__weights=weights, labels=["sadness", "neutral", "happiness"])
    train(swapped, "swapped")  # columns are found by name
    with pytest.raises(FerkitError, match=r"head\.safetensors was trained for .* and has no column for anger"):
        ferkit.pipeline(recipe(head__weights=weights, labels=["neutral", "anger"]))
    with pytest.raises(FerkitError, match="has no column for anger"):
        train(recipe(head__weights=weights, labels=["neutral", "anger"]), "other")


def test_the_same_training_gives_the_same_run(recipe, train):
    made = recipe(training={"learn": "all", "epochs": 1, "augment": {"erase": 0.5}})
    first, second = train(made, "first")[0], train(made, "second")[0]
    for name in ("head.safetensors", "encoder-vit.safetensors"):
        ours, theirs = load_file(first / name), load_file(second / name)
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_weights_are_not_held_twice_when_a_run_is_read_again(recipe, train, monkeypatch):
    held, run = [], Trainer.run

    def recorded(self):
        rows = run(self)
        held.extend(map(weakref.ref, self.learner.parameters()))
        held.extend(weakref.ref(value) for moments in self.optimizer.state.values() for value in moments.values())
        return rows

    def counted(*source, **options):
        if held:
            alive.append(sum(each() is not None for each in held))
        return load_recipe(*source, **options)

    alive = []
    monkeypatch.setattr(Trainer, "run", recorded)
    monkeypatch.setattr("ferkit.training.train.load_recipe", counted)
    train(recipe(training={"learn": {"vit": 1}, "epochs": 1}))
    assert len(held) > 20
    assert alive == [0]


def test_a_run_that_can_not_be_read_again_keeps_its_checkpoint(recipe, train, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr("ferkit.training.train.changed", lambda *_: {"vit": {"nothing": torch.zeros(1)}})
        with pytest.raises(FerkitError, match=r"can't be read again .*nothing is unknown.*its checkpoint is kept"):
            train(recipe())
    run = tmp_path / "run"
    assert (run / "checkpoint.safetensors").exists()
    assert not (run / "metrics.json").exists()
    train(recipe())  # goes on from it
    assert not (run / "checkpoint.safetensors").exists()
