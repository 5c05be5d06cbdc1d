"""What is wrong with data, options and folders is told, early and with what to do."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import trees
from fakes import ColourConfig, Empty, component, plugin
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import ferkit
from ferkit import FerkitError, RecipeError, Registry
from ferkit.cli import app
from ferkit.recipe import load_recipe
from ferkit.training import checkpoint
from ferkit.training.card import card
from ferkit.training.metrics import by_class, figures
from ferkit.training.source import FeatureSource

LABELS = ["neutral", "happiness", "sadness"]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train.md"


def refused(train, recipe, message, **options):
    with pytest.raises(FerkitError, match=message) as caught:
        train(recipe, **options)
    return caught.value


def test_no_data(recipe, train):
    refused(
        train, recipe(data=None), r"nothing to learn from: name a data set, --data NAME:PATH or the recipe's `data:`"
    )


@pytest.mark.parametrize("text", ["folder", "folder:", ":faces", ""])
def test_data_in_a_word(text, recipe, train):
    refused(train, recipe(), r"write NAME:PATH, such as fer2013:/data/fer2013", data=text)


def test_data_on_top_of_the_recipe(recipe, train, faces):
    bare = recipe(data={"use": "folder", "path": "elsewhere", "crops": True, "validation": "validation"})
    _, metrics = train(bare, data=f"folder:{faces}")
    assert metrics["data"]["learnt_from"]["samples"] == 48
    _, metrics = train(recipe(data=None), "other", data={"use": "folder", "path": str(faces), "crops": True})
    assert metrics["data"]["judged_by"]["samples"] == 5  # a tenth of the split train


def test_what_the_data_leaves_out_is_told(recipe, train, tmp_path):
    annotations = trees.affectnet_2021(tmp_path / "affectnet", train=5) / "train_set" / "annotations"
    (annotations / "39_exp.npy").write_bytes(b"")
    others = ["surprise", "fear", "disgust", "anger"]
    data = {"use": "affectnet", "path": str(tmp_path / "affectnet"), "classes": 7, "validation": "validation"}
    with pytest.warns(UserWarning, match="the data: 1 rows that can't be read, left out, first: .*39_exp.npy"):
        _, metrics = train(recipe(data={**data, "drop_labels": others}))
    assert metrics["data"]["learnt_from"]["samples"] == 15


@pytest.mark.parametrize("key", ["split", "validation"])
def test_a_split_that_is_not_there(key, recipe, train):
    refused(train, recipe(**{f"data__{key}": "test"}), "no split 'test': choose one of train, validation")


def test_faces_that_were_not_found_are_named(recipe, write_recipe, faces, portraits, tmp_path):
    """The annotated detector finds a face where there is a box; small square pictures without one look like crops."""
    rows = [f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}" for path in sorted(faces.rglob("*.png"))]
    lost = [n for n, row in enumerate(rows) if "train" in row][::2]
    boxed = [row + (",,,," if n in lost else ",0,0,32,32") for n, row in enumerate(rows)]
    boxed = [f"{n},{row.split('/')[1]},{row}" for n, row in enumerate(boxed)]
    (tmp_path / "t.csv").write_text("\n".join(["id,split,image,label,x0,y0,x1,y1", *boxed]) + "\n")
    data = {"use": "manifest", "path": str(tmp_path / "t.csv"), "validation": "validation"}
    path = write_recipe(recipe(data=data, detector={"use": "given"}, training={"epochs": 1}))
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "warning: no face was found in 24 of 48 pictures, which are small and square" in done.stderr
    assert "`data.crops: true`" in done.stderr
    assert (
        f"no face was found in 24 of 48 pictures: {out / 'metrics.json'} names the first 20 (missed_ids)" in done.stderr
    )
    told = json.loads((out / "metrics.json").read_text())["data"]["learnt_from"]
    assert (told["missed"], told["missed_ids"]) == (24, [str(n) for n in lost][:20])


def test_a_head_on_features_learns_labels_that_its_encoder_lacks(recipe, train, write_faces):
    labels = ["neutral", "happiness", "contempt"]
    data = str(write_faces("contempt", labels, train=range(48), validation=range(48, 64)))
    made = recipe(labels=labels, encoders={"nano": {"use": "nano"}}, data__path=data, training={"epochs": 1})
    run, _ = train(made)
    assert ferkit.pipeline(run).recipe.labels == tuple(labels)
    message = r"the head average-probabilities needs logits .* encoders\.nano has no column for contempt"
    refused(train, made | {"head": {"use": "average-probabilities"}}, message, out="other")


def test_a_share_of_what_nano_has_seen_is_told_in_the_card(recipe):
    figures_ = {"samples": 1, "missed": 0, "unreadable": {}}
    metrics = {
        "validation": {"n": 1, "missed": 0, "accuracy": 1, "uar": 1, "macro_f1": 1},
        "data": {"learnt_from": figures_, "judged_by": figures_},
        "recall": {},
        "epoch": 1,
        "epochs": 1,
    }
    for validation, told in ((0.1, True), ("validation", False)):
        data = {"use": "fer2013", "path": "fer2013", "validation": validation}
        text = card(load_recipe(recipe(encoders={"nano": {"use": "nano"}}, data=data)), metrics)
        assert ("`nano` has seen the training split of FER2013" in text) is told


def test_ctrl_c_before_anything_was_learnt_is_told(recipe, write_recipe, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ferkit.training.train.gather", interrupt)
    command = ["train", str(write_recipe(recipe())), "--out", str(tmp_path / "run"), "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 130
    assert "interrupted before anything was learnt: there is nothing to go on from" in done.stderr
    assert "goes on" not in done.stderr


def test_labels_that_the_recipe_lacks(recipe, train):
    two = recipe(labels=["neutral", "happiness"])
    refused(train, two, r"labels that the recipe lacks: sadness \(n = 16\).*data\.drop_labels: \[sadness\]")
    _, metrics = train(two | {"data": two["data"] | {"drop_labels": ["sadness"]}})
    assert metrics["data"]["learnt_from"]["by_label"] == {"neutral": 16, "happiness": 16}


def test_a_class_without_a_picture(recipe, train):
    refused(train, recipe(labels=[*LABELS, "anger", "fear"]), "none of the 48 samples is labelled anger, fear")


def test_a_class_without_a_picture_that_can_be_read(recipe, train, faces):
    for path in (faces / "train" / "sadness").iterdir():
        path.write_bytes(b"broken")
    refused(train, recipe(), "none of the 32 faces that were found is labelled sadness")


def test_three_pictures(recipe, train, write_faces):
    few = write_faces("few", train=range(3))
    data = {"use": "folder", "path": str(few), "crops": True}
    refused(train, recipe(data=data), "3 samples to learn from and 0 to judge by are too few for 3 classes")


def test_pictures_without_a_face(recipe, train, faces):
    for path in faces.rglob("*.png"):
        Image.new("RGB", (32, 32), "grey").save(path)
    data = {"use": "folder", "path": str(faces), "validation": "validation"}
    blind = recipe(data=data, detector={"use": "retinaface"})
    refused(train, blind, r"no face was found in any of 48 pictures; is the data cropped to faces\?.*crops: true")


def test_pictures_that_can_not_be_read_are_counted_named_and_wrong(recipe, train, faces, cache):
    for path in sorted((faces / "validation" / "neutral").iterdir())[:2]:
        path.write_bytes(b"broken")
    made = recipe(data__validation="validation", training={"epochs": 1})
    _, metrics = train(made)
    judged = metrics["data"]["judged_by"]
    assert (judged["samples"], judged["missed"]) == (16, 2)
    assert sorted(judged["unreadable"]) == ["validation/neutral/48.png", "validation/neutral/51.png"]
    assert all("48.png" in text or "51.png" in text for text in judged["unreadable"].values())
    assert metrics["recall"]["neutral"]["n"] == 6
    assert metrics["validation"]["n"] == 16
    right = round(metrics["validation"]["accuracy"] * 16, 6)
    assert right == int(right) <= 14
    again = train(made, "again")[1]  # from the cache
    assert again["data"] == metrics["data"]


def test_missed_faces_are_wrong_in_every_figure_but_the_likelihood():
    sure = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0]])
    truth, missed = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    found = figures(sure, truth, missed)
    assert (found["n"], found["missed"]) == (6, 3)
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["uar"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["loss"] == pytest.approx(-torch.tensor([0.9, 0.8, 0.9]).log().mean().item())
    recalls = by_class(sure, truth, missed, LABELS)
    assert recalls == {
        "neutral": {"n": 2, "recall": 1.0}, "happiness": {"n": 2, "recall": 0.5}, "sadness": {"n": 2, "recall": 0.0}
    }  # fmt: skip
    assert "sadness" not in by_class(sure, truth, torch.zeros(3, dtype=torch.int64), LABELS)


class Forgetful:
    """A head that learns, and can't be told what it learnt."""

    def __init__(self, config, context):
        self.module = nn.Linear(64, len(context.labels))

    def __call__(self, features, faces):
        return self.module(features.encoders["vit"].pooled)

    def stages(self):
        return [list(self.module.parameters())]


def with_component(*more):
    """What is installed, and a component."""
    registry = Registry.discover()
    registry.register(plugin(component(*more)), "ferkit-more", "1.0")
    return registry


COLOUR = ("encoder", "colour", ColourConfig, "fakes:ColourEncoder")


def test_nothing_to_learn(recipe, train):
    registry = Registry.discover()
    colour = component(*COLOUR, provides=frozenset({"logits"}))
    registry.register(plugin(colour), "ferkit-more", "1.0")
    bare = recipe(encoders={"colour": {"use": "colour"}}, head={"use": "average-probabilities"})
    message = "nothing would learn: the head average-probabilities has no parameters"
    refused(train, bare, message, registry=registry)


def test_an_encoder_that_can_not_learn(recipe, train):
    fixed = recipe(encoders={"colour": {"use": "colour"}}, training={"learn": "all"})
    refused(train, fixed, r"encoders\.colour can't learn: it names no parameters", registry=with_component(*COLOUR))


def test_what_was_learnt_by_an_encoder_that_can_not_learn(recipe, train, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    fixed = recipe(encoders={"colour": {"use": "colour", "learnt": str(tmp_path / "x.safetensors")}})
    refused(
        train,
        fixed,
        "it can't learn, so `learnt` means nothing to it: remove that key",
        registry=with_component(*COLOUR),
    )


def test_a_head_that_could_not_be_loaded_again(recipe, train, monkeypatch):
    monkeypatch.setitem(sys.modules, "forgetful", SimpleNamespace(Forgetful=Forgetful))
    registry = with_component("head", "forgetful", Empty, "forgetful:Forgetful")
    message = "the head forgetful would learn, and has no option `weights`"
    refused(train, recipe(head={"use": "forgetful"}), message, registry=registry)


def test_more_stages_than_there_are(recipe, train):
    refused(
        train, recipe(training={"learn": {"vit": 99}}), r"encoders\.vit has \d+ stages, training\.learn asks for 99"
    )


def test_an_encoder_that_is_not_there(recipe):
    with pytest.raises(RecipeError, match=r"training\.learn\.vti.*: is none of the encoders vit"):
        load_recipe(recipe(training={"learn": {"vti": 1}}))


def test_text_without_a_tower(recipe, train):
    made = recipe(training={"learn": {"vit": {"stages": 1, "text": True}}})
    refused(train, made, r"encoders\.vit has no text tower that can learn: remove text")


@pytest.mark.parametrize("objective", ["image_text", "contrastive"])
def test_texts_without_an_encoder_that_reads(objective, recipe, train):
    made = recipe(training={"learn": {"vit": 1}, "objectives": {objective: 1.0}})
    refused(train, made, "need an encoder with text: set its option text")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {"distillation": 1}}, "distillation needs a `teacher`"),
        ({"teacher": "default"}, "give objectives.distillation a weight, or remove the teacher"),
        ({"objectives": {"cross_entropy": 0}}, "all weights are 0"),
        ({"batch_size": 10, "accumulate": 3}, "batch_size 10 can't be computed in 3 equal parts"),
        ({"learn": {"vit": {"stages": 1, "lora": {}}}}, "two ways to learn: choose one"),
        ({"epoch": 3}, r"training\.epoch.*: unknown key \(did you mean epochs\?\)"),
    ],
)
def test_options_that_do_not_fit(settings, message, recipe):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe(training=settings))


def test_a_teacher_of_fewer_labels(recipe, train):
    two = recipe(labels=["neutral", "happiness"], data__drop_labels=["sadness"])
    run, _ = train(two, "teacher")
    settings = {"objectives": {"distillation": 1}, "teacher": str(run)}
    refused(train, recipe(training=settings), "the teacher test was trained for .* no column for sadness")


def test_fp16_without_a_gpu(recipe, train):
    refused(train, recipe(training={"precision": "fp16"}), "precision fp16 needs a GPU: choose bf16 or fp32")


def test_a_device_that_is_not_there(recipe, tmp_path):
    with pytest.raises(FerkitError, match="this torch finds no CUDA GPU"):
        ferkit.train(recipe(), out=tmp_path / "run", device="cuda")
    with pytest.raises(FerkitError, match="training runs on cpu or cuda"):
        ferkit.train(recipe(), out=tmp_path / "run", device="tpu")


def test_trackers(recipe, train, monkeypatch):
    refused(train, recipe(training={"trackers": ["tensorbored"]}), r"'tensorbored' is none of .*tensorboard")
    monkeypatch.setattr("ferkit.training.train.get_available_trackers", list)
    refused(train, recipe(training={"trackers": ["tensorboard"]}), "tensorboard is not installed: pip install")


def test_tensorboard_is_written_and_the_page_lists_all_that_a_run_holds(recipe, train):
    run, _ = train(recipe(training={"trackers": ["tensorboard"], "epochs": 2, "learn": {"vit": 1}}))
    assert any(b"validation/uar" in events.read_bytes() for events in run.rglob("events.out.tfevents.*"))
    table = PAGE.read_text(encoding="utf-8").split("## The run")[1].split("##")[0].replace("NAME", "vit")
    for item in run.iterdir():
        assert f"`{item.name}{'/' if item.is_dir() else ''}`" in table


def test_a_folder_with_other_things(recipe, train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        refused(train, recipe(), "run is a folder with other things in it: name another --out", overwrite=overwrite)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_a_file_in_place_of_the_folder(recipe, train, tmp_path):
    (tmp_path / "run").write_text("precious")
    refused(train, recipe(), "run is a file: name another folder")


def test_overwrite_begins_anew(recipe, train):
    run, _ = train(recipe(training={"learn": {"vit": 1}, "epochs": 1}))
    train(recipe(), overwrite=True)
    assert not (run / "encoder-vit.safetensors").exists()


def test_a_loss_that_is_no_number(recipe, train, tmp_path):
    """Weights of 1e30 and their decay leave the range of numbers in the third step; the first epoch was good."""
    made = recipe(training={"epochs": 8, "batch_size": 48, "lr": 1e30, "warmup": 0, "clip": 0}, head={"use": "mlp"})
    error = refused(train, made, r"(the loss is no longer a number|are no longer numbers)")
    assert "Begin again in another folder with a lower training.lr" in str(error)
    path = tmp_path / "run" / "checkpoint.safetensors"
    if path.exists():
        assert f"the last good checkpoint is {path}" in str(error)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_batch_that_is_no_number_is_named_and_the_checkpoint_before_is_kept(recipe, train, tmp_path, monkeypatch):
    get, calls = FeatureSource.__getitem__, []

    def spoilt(self, index):
        batch = get(self, index)
        if len(self) == 48:
            calls.append(index)
            if len(calls) == 5:
                batch.views.encoders["vit"].pooled[3] = torch.nan
        return batch

    made = recipe(training={"epochs": 2, "batch_size": 16})
    with monkeypatch.context() as patch:
        patch.setattr(FeatureSource, "__getitem__", spoilt)
        error = refused(
            train, made, r"the loss is no longer a number \(cross_entropy\) in epoch 2, step 2, on 16 faces:"
        )
    names = str(error).split("faces: ")[1].split(" and others")[0].split(", ")
    assert len(names) == 3 and all(name.startswith("train/") for name in names)
    state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert (state["progress"]["epoch"], len(json.loads(state["history"]))) == (1, 1)
    whole, _ = train(made, "whole")
    run, _ = train(made)  # goes on from there
    assert (run / "README.md").read_text() == (whole / "README.md").read_text()


def test_the_command_tells_what_was_left_out(recipe, write_recipe, faces, tmp_path):
    (faces / "train" / "neutral" / "more.png").write_bytes(b"broken")
    path = write_recipe(recipe(training={"epochs": 1}))
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("can't be read") == 1  # once, before training
    assert "no face was found" not in done.stderr
    assert f"on 16 held-out faces (epoch 1 of 1). Use it: ferkit predict PICTURES --recipe {out}" in done.stderr
    wrong = CliRunner().invoke(app, ["train", str(path), "--out", str(out), "--data", "faces"])
    assert wrong.exit_code == 2
    assert "error: --data faces: write NAME:PATH" in wrong.stderr


@pytest.mark.parametrize(("split", "validation"), [("train", "train"), ("validation", "validation"), ("train", "all")])
def test_the_split_itself_is_not_held_out(split, validation, recipe, train, write_faces):
    data = {"use": "folder", "path": str(write_faces("flat", all=range(64)) / "all"), "crops": True}
    made = recipe(data__split=split, data__validation=validation)
    refused(
        train,
        recipe(data=data | {"validation": "all"}) if validation == "all" else made,
        f"data.validation names the split {validation} itself, whose faces are learnt from",
    )


def write_table(faces, path, **columns):
    """A manifest of the faces, with columns made from split and number."""
    rows = [",".join(["image", "label", *columns])]
    for picture in sorted(faces.rglob("*.png")):
        split, label = picture.parts[-3:-1]
        values = (value(split, int(picture.stem)) for value in columns.values())
        rows.append(",".join([picture.relative_to(path.parent).as_posix(), label, *map(str, values)]))
    path.write_text("\n".join(rows) + "\n")
    return {"use": "manifest", "path": str(path), "crops": True}


def of_split(split, _):
    return split


def test_people_on_both_sides_are_told_and_counted(recipe, train, faces, tmp_path):
    data = write_table(faces, tmp_path / "t.csv", split=of_split, subject=lambda _, n: n % 30)
    with pytest.warns(UserWarning, match=r"^16 subjects of the split validation are learnt from, too \(n = 16 samples"):
        _, metrics = train(recipe(data=data | {"validation": "validation"}))
    assert metrics["data"]["judged_by"]["shared"] == {"subjects": 16, "groups": 0}
    _, metrics = train(recipe(data=data | {"validation": 0.2}), "apart")
    assert metrics["data"]["judged_by"]["shared"] == {"subjects": 0, "groups": 0}


def test_a_class_that_is_not_held_out_is_told(recipe, train, faces):
    shutil.rmtree(faces / "validation" / "sadness")
    with pytest.warns(UserWarning, match=r"none of the 11 held-out samples is labelled sadness"):
        _, metrics = train(recipe())
    assert metrics["data"]["judged_by"]["absent_labels"] == ["sadness"]
    assert metrics["data"]["learnt_from"]["absent_labels"] == []


def test_one_person_can_not_be_on_both_sides(recipe, train, faces, tmp_path):
    data = write_table(faces, tmp_path / "t.csv", subject=lambda *_: "ann")
    refused(train, recipe(data=data), "all 64 samples are of one subject, 'ann', of which nothing can be held out")


def test_pictures_that_are_all_elsewhere(recipe, train, tmp_path):
    rows = "".join(f"{n}.png,{LABELS[n % 3]}\n" for n in range(18))
    (tmp_path / "t.csv").write_text(f"image,label\n{rows}")
    data = {"use": "manifest", "path": str(tmp_path / "t.csv"), "crops": True}
    error = refused(
        train, recipe(data=data), r"can't be read, first: .*\.png.*; check the paths \(data\.path, data\.root\)"
    )
    assert re.match(r"(\d+) of \1 pictures", str(error))
    assert "crops" not in str(error)


def test_what_can_not_be_read_is_told_before_training(recipe, write_recipe, faces, tmp_path):
    (faces / "train" / "neutral" / "more.png").write_bytes(b"broken")
    path = write_recipe(recipe(training={"epochs": 1}))
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(tmp_path / "run"), "--device", "cpu"])
    lines = done.stderr.splitlines()
    (warned,) = (
        n for n, line in enumerate(lines) if line.startswith("warning: 1 of 49 pictures can't be read, first: ")
    )
    (epoch,) = (n for n, line in enumerate(lines) if line.startswith("epoch "))
    assert warned < epoch


def test_labels_to_drop_that_are_not_there(recipe, train):
    made = recipe(data__drop_labels=["happy", "contmept"], labels=["neutral", "sadness"])
    refused(train, made, "the data has no label contmept; it has happiness, neutral, sadness")


@pytest.mark.parametrize("room", ["views", "features"])
def test_a_cache_entry_of_something_else_is_none(room, recipe, train, cache, history):
    first, _ = train(recipe())
    (entry, *_) = paths = sorted((cache / room).rglob("*.safetensors"))
    for path in paths:
        save_file({"x": torch.zeros(1)}, path)
    second, _ = train(recipe(), "second")
    assert history(second) == history(first)
    assert "x" not in load_file(entry)


LEARN = "must be head, all, or a mapping by encoder, as in {vit: 2}, {vit: all} or {vit: lora}"
STAGES = "must be a number of last stages, 0 or more, or all"
VALIDATION = "must be a share between 0 and 0.9, or the name of another split"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.learn", "bogus", f"{LEARN}, not 'bogus'"),
        ("training.learn", None, f"{LEARN}, not None"),
        ("training.learn", [1], LEARN),
        ("training.learn.vit", True, "must be a number of its last stages, all, lora, or a mapping"),
        ("training.learn.vit", "bogus", "must be a number of its last stages, all, lora, or a mapping"),
        ("training.learn.vit.stages", "bogus", f"{STAGES}, not 'bogus'"),
        ("training.learn.vit.stages", -1, f"{STAGES}, not -1"),
        ("training.lr", float("inf"), "Input should be a finite number, not inf"),
        ("training.lr", float("nan"), "Input should be a finite number, not nan"),
        ("data.validation", 0, f"{VALIDATION}, not 0"),
        ("data.validation", 1, f"{VALIDATION}, not 1"),
        ("data.validation", True, VALIDATION),
        ("data.validation", "", VALIDATION),
        ("data.path", "", "is empty: name a file or a folder"),
    ],
)
def test_what_may_be_written_is_told_in_the_recipes_words(path, value, message, recipe):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe(**{path.replace(".", "__"): value}))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert problem.message.startswith(message)


def test_a_short_form_is_refused_where_it_stands(recipe):
    with pytest.raises(RecipeError, match=f"{STAGES}, not -1") as caught:
        load_recipe(recipe(training={"learn": {"vit": -1}}))
    assert len(caught.value.problems) == 1


def test_a_box_far_beyond_its_picture_is_refused(recipe, train, faces, tmp_path):
    corners = {"x0": lambda *_: 0, "y0": lambda *_: 0, "x1": lambda *_: 30, "y1": lambda _, n: 3e7 if n == 7 else 30}
    data = write_table(faces, tmp_path / "t.csv", split=of_split, **corners)
    data |= {"crops": False, "validation": "validation"}
    made = recipe(data=data, detector={"use": "given"})
    refused(train, made, r"07\.png#0,0,30,3e\+07: the box 0 0 30 3e\+07 lies far beyond its picture of 32 x 32 pixels")
