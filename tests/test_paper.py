"""The recipe ``paper``, photo to prediction, on tiny checkpoints of every class it names."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_paper import editors, tiny_paper

import ferkit
from ferkit.recipe import load_recipe

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


@pytest.mark.parametrize("name", ["paper", "paper-rafdb", "paper-expw", "paper-affectnet7"])
def test_what_the_paper_does_not_state_is_marked(name):
    recipe = load_recipe(name)
    assert recipe.normalizer.name == "qwen-image-edit"
    assert (recipe.framework.name, recipe.normalization.keep) == (name, "both")
    lines = (ROOT / "ferkit" / "recipes" / "paper.yaml").read_text(encoding="utf-8").splitlines()
    keys = (
        "detector:",
        "pose:",
        "align:",
        "above_yaw:",
        "keep:",
        "accept:",
        "templates:",
        "clip:",
        "vit:",
        "head:",
        "training:",
    )
    for key in keys:
        (line,) = [line for line in lines if line.lstrip().startswith(key) and "{clip: 2" not in line]
        assert "ours" in line
