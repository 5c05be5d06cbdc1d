"""The recipe ``paper``, photo to prediction, on tiny checkpoints of every class it names."""

import hashlib
import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import open_clip
import pytest
import timm
import torch
import yaml
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from PIL import Image
from safetensors.torch import save_file

import ferkit
from ferkit.editing import FRONTAL_PROMPT
from ferkit.recipe import load_recipe
from ferkit_diffusers.editors import EDITORS

ROOT = Path(__file__).parent.parent
PORTRAIT = ROOT / "examples" / "images" / "astronaut.jpg"
NETWORKS = {"s3fd-619a316812.pth": s3fd, "2DFAN4-11f355bf06.pth.tar": lambda: FAN(1)}


def editors():
    """The module of ferkit-diffusers' tests that builds tiny pipelines."""
    path = ROOT / "plugins" / "ferkit-diffusers" / "tests" / "tiny.py"
    spec = spec_from_file_location("tiny_editors", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faces_everywhere(network):
    """S3FD that takes one place in the middle of a photo for a face, whatever is there."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for name in ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2"):
            getattr(network, f"{name}_mbox_conf").bias[0] = 10  # background
        network.conv7_2_mbox_conf.bias.zero_()  # of the coarsest grid: a face is as likely as none
        network.conv7_2_mbox_conf.bias[1] = 5
    return network


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """What turns ``paper`` into ``paper-tiny``: the same components, with tiny checkpoints."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("tiny")
    digests = {}
    for name, network in NETWORKS.items():
        built = faces_everywhere(network()) if network is s3fd else network()
        torch.save(built.state_dict(), root / name)
        digests[name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    return {
        "name": "paper-tiny",
        "detector": {"weights_dir": str(root), "sha256": [digests["s3fd-619a316812.pth"]], "size": 128},
        "pose": {"weights_dir": str(root), "sha256": [digests["2DFAN4-11f355bf06.pth.tar"]], "flip": False},
        "align": {"size": 32},
        "normalizer": {
            "folder": str(editors().save("qwen-image-edit", root / "editor")),
            "steps": 1,
            "resolution": 64,
            "above_yaw": 0,
            "no_pose": "turn",
        },
        "encoders": {"clip": clip(root / "clip"), "vit": vision_transformer(root / "vit.safetensors")},
        "training": {"epochs": 1, "batch_size": 4},
    }


def clip(folder):
    tower = {"layers": 2, "width": 32}
    vision = {**tower, "image_size": 32, "patch_size": 8, "head_width": 16}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": {**tower, "heads": 2}}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    tensors = open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict()
    save_file(tensors, folder / "open_clip_model.safetensors")
    return {"model": None, "pretrained": None, "local_dir": str(folder)}


def vision_transformer(path):
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), path)
    return {"model": "test_vit", "weights": str(path)}


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
