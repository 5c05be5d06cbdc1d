"""Real face crops in a folder data set, tiny random checkpoints of real encoders, and recipes of them."""

import json
from pathlib import Path

import open_clip
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import ferkit

ROOT = Path(__file__).parents[2]
SOLVAY = ROOT / "plugins" / "ferkit-retinaface" / "tests" / "solvay_1927.json"
LABELS = ["neutral", "happiness", "sadness"]
TINY_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
VARIANTS = ((0, 0, False), (2, 1, True), (-2, -1, False))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache in place of the user's; no GPU, which nothing here is about."""
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def portraits():
    """64 crops of 30 real faces, each with the number of its person: some shifted or mirrored."""
    boxes = json.loads(SOLVAY.read_text())
    scene = Image.open(ROOT / boxes["image"]).convert("RGB")
    astronaut = Image.open(ROOT / "examples" / "images" / "astronaut.jpg").convert("RGB")
    places = [(scene, box) for box in boxes["boxes"]] + [(astronaut, (171, 59, 281, 207))]
    found = []
    for x, y, mirrored in VARIANTS:
        for person, (picture, (x0, y0, x1, y1)) in enumerate(places):
            face = picture.crop((x0 + x, y0 + y, x1 + x, y1 + y)).resize((32, 32))
            found.append((person, face.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else face))
    return found[:64]


@pytest.fixture
def write_faces(portraits, tmp_path):
    """Write crops as ``split/label/n.png``; returns the folder."""

    def write(name="faces", labels=LABELS, **splits):
        folder = tmp_path / name
        for split, chosen in (splits or {"train": range(64)}).items():
            for index in chosen:
                person, face = portraits[index]
                place = folder / split / labels[person % len(labels)]
                place.mkdir(parents=True, exist_ok=True)
                face.save(place / f"{index:02}.png")
        return folder

    return write


@pytest.fixture
def faces(write_faces):
    """48 faces to learn from and 16 to judge by."""
    return write_faces(train=range(48), validation=range(48, 64))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Random weights of timm's test models, by model; their names are the options of the encoder."""
    folder = tmp_path_factory.mktemp("timm")
    found = {}
    for model in ("test_vit", "test_resnet"):
        torch.manual_seed(0)
        size = {"img_size": 32} if model == "test_vit" else {}
        network = timm.create_model(model, num_classes=0, **size)
        with torch.no_grad():
            for parameter in network.parameters():  # fresh ones have zeros, past which no gradient gets
                parameter.add_(0.05 * torch.randn_like(parameter))
        save_file(network.state_dict(), folder / f"{model}.safetensors")
        found[model] = {
            "use": "timm",
            "model": model,
            "image_size": 32,
            "weights": str(folder / f"{model}.safetensors"),
        }
    return found


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A tiny random checkpoint of open_clip's real class, as options of the encoder."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return {"use": "open-clip", "local_dir": str(folder), "text": True}


@pytest.fixture
def recipe(checkpoints, faces):
    """Makes a recipe of crops, a tiny vision transformer and a linear head; dotted keys change it."""

    def make(**changes):
        base = {
            "ferkit": 1,
            "name": "test",
            "labels": LABELS,
            "detector": {"use": "whole-image"},
            "align": {"size": 32},
            "encoders": {"vit": dict(checkpoints["test_vit"])},
            "head": {"use": "linear"},
            "data": {"use": "folder", "path": str(faces), "crops": True, "validation": "validation"},
            "training": {"epochs": 2, "batch_size": 16, "workers": 0},
        }
        for key, value in changes.items():
            *path, last = key.split("__")
            inner = base
            for name in path:
                inner = inner.setdefault(name, {})
            inner[last] = value
        return base

    return make


@pytest.fixture
def train(tmp_path):
    """Train a recipe on the CPU; returns the run's folder and its metrics."""

    def run(recipe, out="run", **options):
        folder = tmp_path / out
        return folder, ferkit.train(recipe, out=folder, device="cpu", progress=False, **options)

    return run


@pytest.fixture
def history():
    """The rows of a run's history without what depends on the machine's speed."""

    def rows(folder):
        found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in found]

    return rows


@pytest.fixture
def write_recipe(tmp_path):
    """Write a recipe into the test's folder; returns its path."""

    def write(recipe, name="recipe.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(recipe))
        return tmp_path / name

    return write
