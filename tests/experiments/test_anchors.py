"""``ferkit reproduce clip-anchors``: published layouts with a tiny CLIP, which is no CLIP and is told so."""

import json

import pytest
import trees

from ferkit.experiments.anchors import CAUSES, MODELS, PROMPT, SETTINGS, compared, recipe_of
from ferkit.labels import EIGHT, SEVEN

TREES = {
    "rafdb": lambda root: trees.rafdb(root, train=1, test=2, original=False),
    "affectnet": lambda root: trees.affectnet_2021(root, train=1, validation=1),
    "ferplus": trees.ferplus,
}


@pytest.mark.parametrize(
    "name, faces", [("rafdb", [14]), ("affectnet", [7, 8]), ("ferplus", [7])], ids=["rafdb", "affectnet", "ferplus"]
)
def test_another_model_than_clip_is_told_with_the_likely_causes(run, tiny, tmp_path, name, faces):
    TREES[name](tmp_path / "data")
    command = ("clip-anchors", "--data", f"{name}:data", "--out", "out")
    told = run(*command, options={"encoders": {"clip": tiny["encoders"]["clip"]}}, code=1)
    found = json.loads((tmp_path / "out" / "anchors.json").read_text())["anchors"]
    assert [(each["setting"], each["model"]) for each in found] == [
        (setting.name, model) for setting in SETTINGS[name] for model in MODELS
    ]
    assert [each["n"] for each in found] == [n for n in faces for _ in MODELS]
    assert (
        f"of {len(found)} are more than 1.5 points off; likely causes, in this order: 1. preprocessing" in told.stderr
    )
    places = [told.stderr.index(cause) for cause in CAUSES]
    assert places == sorted(places)
    for each in found:  # what is told is what the report holds
        metrics = json.loads((tmp_path / "out" / each["setting"] / each["model"] / "metrics.json").read_text())
        assert (each["war"], each["uar"]) == (100 * metrics["accuracy_all"], 100 * metrics["uar"])
        assert metrics["n_no_face"] == 0
    assert "38.66" in told.stdout or name != "rafdb"


def metrics(uar, war):
    return {"n": 3068, "uar": uar / 100, "accuracy_all": war / 100}


@pytest.mark.parametrize("name, setting", [(one.name, one) for several in SETTINGS.values() for one in several])
def test_an_anchor_holds_within_one_and_a_half_points_of_both_figures(name, setting):
    for model, (uar, war) in zip(MODELS, setting.published, strict=True):
        for apart in (0.0, 1.5, -1.5):
            assert compared(setting, model, metrics(uar + apart, war - apart)).holds
        for apart in (1.51, -1.51):
            assert not compared(setting, model, metrics(uar + apart, war)).holds
            assert not compared(setting, model, metrics(uar, war + apart)).holds


def test_what_was_not_scored_at_all_holds_no_anchor():
    (setting,) = SETTINGS["rafdb"]
    anchor = compared(setting, "ViT-B-16", {"n": 5, "uar": None, "accuracy_all": 0.0})
    assert (anchor.uar, anchor.war, anchor.holds) == (0.0, 0.0, False)


@pytest.mark.parametrize("name, labels", [("rafdb", SEVEN), ("ferplus", EIGHT)])
def test_a_recipe_asks_for_the_published_model_with_one_prompt_and_the_annotated_faces(name, labels):
    (setting,) = SETTINGS[name]
    recipe = recipe_of(setting, "ViT-L-14", f"{name}:data", {})
    assert recipe["encoders"]["clip"] | {"model": "ViT-L-14", "pretrained": "openai"} == recipe["encoders"]["clip"]
    assert recipe["prompts"] == {"templates": [PROMPT], "words": {}}
    assert (tuple(recipe["labels"]), recipe["detector"]["use"], recipe["head"]["use"]) == (labels, "given", "zero-shot")
    assert "pose" not in recipe and "normalizer" not in recipe


def test_data_without_anchors_is_refused(run):
    told = run("clip-anchors", "--data", "kdef:data", code=2)
    assert "there are anchors for rafdb, affectnet, ferplus" in told.stderr
