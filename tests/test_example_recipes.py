"""The recipes of examples/ train and predict, on tiny checkpoints of the models they name."""

import json
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTForImageClassification, ViTImageProcessor

import ferkit
from ferkit.labels import SEVEN

ROOT = Path(__file__).parent.parent
RECIPES = [*sorted((ROOT / "examples" / "recipes").glob("*.yaml")), ROOT / "ferkit" / "recipes" / "clip-zero-shot.yaml"]
PORTRAIT = ROOT / "examples" / "images" / "astronaut.jpg"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
NAMES = dict(enumerate(["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]))


def clip(folder):
    tower = {"layers": 2, "width": 32}
    vision = {**tower, "image_size": 32, "patch_size": 8, "head_width": 16}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": {**tower, "heads": 2}}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    tensors = open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict()
    save_file(tensors, folder / "open_clip_model.safetensors")
    return {"model": None, "pretrained": None, "local_dir": str(folder)}


def vision_transformer(folder):
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), folder.with_suffix(".safetensors"))
    return {"model": "test_vit", "weights": str(folder.with_suffix(".safetensors"))}


def saved(model, folder):
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return {"model": None, "folder": str(folder)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Options that put a tiny model in place of the one that a recipe names, by the encoder's component."""
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    classifier = ViTForImageClassification(ViTConfig(**SMALL, intermediate_size=32, id2label=NAMES))
    return {
        ("open-clip", False): clip(root / "clip"),
        ("timm", False): vision_transformer(root / "vit"),
        ("transformers", False): saved(Dinov2Model(Dinov2Config(**SMALL, mlp_ratio=2)), root / "dino"),
        ("transformers", True): saved(classifier, root / "classifier"),
    }


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Four cuts of a portrait for each of the seven labels."""
    root = tmp_path_factory.mktemp("faces")
    with Image.open(PORTRAIT) as portrait:
        for row, label in enumerate(SEVEN):
            (root / label).mkdir()
            for n in range(4):
                portrait.crop((160 + n, 40 + row, 290 + n, 220)).save(root / label / f"{n}.png")
    return {"use": "folder", "path": str(root), "crops": True, "validation": 0.25}


def shrunk(path, tiny):
    """The recipe as it stands, with tiny models of the same classes in its encoders."""
    recipe = ferkit.load_recipe(path)
    parts = {name: tiny.get((part.name, "logits" in part.provides)) for name, part in recipe.encoders.items()}
    return {f"encoders.{name}": options for name, options in parts.items() if options}


LEARNS = [path for path in RECIPES if ferkit.load_recipe(path).framework.training]


@pytest.mark.parametrize("path", LEARNS, ids=lambda path: path.stem)
def test_it_can_be_trained_and_its_run_predicts(path, tiny, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path / "cache"))
    small = {"training.epochs": 2, "training.batch_size": 8}
    ferkit.train(path, faces, tmp_path / "run", {**shrunk(path, tiny), **small}, progress=False)
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[0]["train"]["loss"] != history[1]["train"]["loss"]
    learnt = {file.name for file in (tmp_path / "run").glob("encoder-*.safetensors")}
    wanted = ferkit.load_recipe(path).framework.training.learn
    assert learnt == {f"encoder-{name}.safetensors" for name in (wanted if isinstance(wanted, dict) else ())}
    assert_predicts(ferkit.pipeline(tmp_path / "run"))


@pytest.mark.parametrize("path", sorted({*RECIPES} - {*LEARNS}), ids=lambda path: path.stem)
def test_it_predicts_without_training(path, tiny):
    assert_predicts(ferkit.pipeline(path, shrunk(path, tiny)))


def assert_predicts(fer):
    found = fer(PORTRAIT)
    assert len(found) == 1
    assert found.labels == SEVEN
    assert found.probabilities.sum(1).allclose(torch.ones(1))


def test_some_learn_and_some_do_not():
    assert {path.stem for path in LEARNS} >= {"clip-linear-probe", "clip-lora", "paper-fusion", "gated"}
    assert "clip-zero-shot" in {path.stem for path in RECIPES} - {path.stem for path in LEARNS}
