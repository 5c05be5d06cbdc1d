"""The recipe ``paper``, photo to prediction, on tiny checkpoints of every class it names."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tiny_paper import editors, tiny_paper

import ferkit
from ferkit.editing import FRONTAL_PROMPT
from ferkit.recipe import load_recipe
from ferkit_diffusers.editors import EDITORS

ROOT = Path(__file__).parent.parent
PORTRAIT = ROOT / "examples" / "images" / "astronaut.jpg"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_paper(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def faces(tmp_path):
    """One cut of a portrait for each label, and one to hold out."""
    with Image.open(PORTRAIT) as portrait:
        for n, label in enumerate(load_recipe("paper").labels):
            for copy in range(4):
                path = tmp_path / "faces" / label / f"{copy}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                portrait.crop((100 + n, 20 + copy, 356, 276 + copy)).resize((96, 96)).save(path)
    return {"use": "folder", "path": str(tmp_path / "faces"), "validation": 0.5}


def test_paper_tiny_learns_and_predicts(tiny, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path / "cache"))
    editors().shrink(monkeypatch)
    ferkit.train("paper", faces, tmp_path / "run", {**tiny, "normalizer": {**tiny["normalizer"], "accept": None}})
    fer = ferkit.pipeline(tmp_path / "run")
    kinds = {path: part.name for path, part in fer.recipe.parts().items()}
    assert kinds == {path: part.name for path, part in load_recipe("paper").parts().items()}
    found = fer(PORTRAIT)
    assert len(found) == 1
    assert found.probabilities.sum(1).allclose(torch.ones(1))
    assert not {"not_turned", "edit_failed"} & set(found[0].flags)


def test_what_the_gate_rejects_is_predicted_from_the_aligned_view(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path / "cache"))
    editors().shrink(monkeypatch)
    zero_shot = {"head": {"use": "zero-shot"}, "training": None}
    fer = ferkit.pipeline(
        "paper", {**tiny, **zero_shot, "normalizer": {**tiny["normalizer"], "accept": {"max_yaw": 0}}}
    )
    found = fer(PORTRAIT)
    assert [flag for flag in found[0].flags if flag.startswith("edit_")] == ["edit_rejected:yaw"]
    assert found.probabilities.sum(1).allclose(torch.ones(1))


STATED = {"labels", "normalizer.use", "encoders.clip.use"}
FORMAL = {"ferkit", "name", "description", "extends"}


def values(node, path=(), lines=()):
    """Path, text, and lines of its keys, of each value in YAML."""
    if not isinstance(node, yaml.MappingNode):
        texts = [item.value for item in node.value] if isinstance(node, yaml.SequenceNode) else [node.value]
        yield ".".join(path), texts, lines
        return
    for key, value in node.value:
        yield from values(value, (*path, key.value), (*lines, key.start_mark.line))


@pytest.mark.parametrize("name", ["paper", "paper-rafdb", "paper-expw", "paper-affectnet7"])
def test_what_the_paper_does_not_state_is_marked_and_explained(name):
    recipe = load_recipe(name)
    assert recipe.normalizer.name == "qwen-image-edit"
    assert (recipe.framework.name, recipe.normalization.keep) == (name, "both")
    text = (ROOT / "ferkit" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    marks = ["ours" in line.partition("#")[2] for line in text.splitlines()]
    found = list(values(yaml.compose(text)))
    assert [path for path, _, lines in found if not any(marks[n] for n in lines) and path not in STATED | FORMAL] == []
    page = (ROOT / "docs" / "explanation" / "paper.md").read_text(encoding="utf-8")
    table = page.partition("## What is ours")[2].partition("\n## ")[0]
    numbers = [(path, text) for path, texts, _ in found for text in texts if text[0].isdigit() and path not in FORMAL]
    assert [number for number in numbers if not re.search(rf"(?<![\w.]){re.escape(number[1])}(?![\w.]\d)", table)] == []


def test_the_editors_settings_stand_in_the_recipe():
    config = load_recipe("paper").normalizer.config
    editor = EDITORS["qwen-image-edit"]
    assert config.prompt == FRONTAL_PROMPT
    assert (config.steps, config.guidance, config.resolution) == (editor.steps, editor.strength, editor.resolution)
    assert config.load == {"dtype": "bfloat16"}
