"""Tiny random checkpoints of open_clip's real classes, saved as users would."""

import json

import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import ferkit
from ferkit import Context
from ferkit.registry import default_registry
from ferkit.testing import face_picture
from ferkit.types import FaceViews
from ferkit.weights import WeightsStore
from ferkit_open_clip import OpenClipConfig
from ferkit_open_clip.encoder import OpenClipEncoder

LABELS = ("neutral", "happiness", "sadness")

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
MODELS = {
    "clip": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "custom": {
        "embed_dim": 24,
        "vision_cfg": {**VIT, "pool_type": "avg", "no_ln_pre": True, "final_ln_after_pool": True},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        "custom_text": True,
        "quick_gelu": True,
        "init_logit_bias": -10,
    },
    "coca": {
        "embed_dim": 24,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": TEXT,
    },
    "timm-vit": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "timm-convolutional": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_convnext",
            "timm_model_pretrained": True,  # as in some configurations on the hub; it must not download
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "image_size": 64,
        },
        "text_cfg": TEXT,
    },
}
PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """An empty cache of the hub in place of the user's, and no way to the hub."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("FERKIT_OFFLINE", "1")
    return cache


def save_checkpoint(folder, model_cfg, preprocessing=None):
    """A random checkpoint as open_clip saves it: configuration and safetensors in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = {**model_cfg["vision_cfg"], "timm_model_pretrained": False}
    settings = {"model_cfg": {**model_cfg, "vision_cfg": vision}, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    with torch.no_grad():
        for parameter in model.parameters():  # fresh ones have layers of zeros, which would hide faults
            parameter.add_(0.05 * torch.randn_like(parameter))
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    settings["model_cfg"] = model_cfg
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Model to the folder it was saved in."""
    root = tmp_path_factory.mktemp("open_clip")
    return {name: save_checkpoint(root / name, settings, PREPROCESSING) for name, settings in MODELS.items()}


@pytest.fixture(scope="session")
def models():
    """Model to its configuration."""
    return MODELS


@pytest.fixture(params=MODELS)
def name(request):
    """Each model in turn."""
    return request.param


@pytest.fixture
def save():
    """Saves a random checkpoint."""
    return save_checkpoint


@pytest.fixture
def put_in_hub(no_hub):
    """Copies files into the hub's cache."""

    def put(repository, source):
        """Copy the files of a folder into a cache of the hub, as a download would."""
        place = no_hub / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        snapshot = place / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        for file in source.iterdir():
            (snapshot / file.name).write_bytes(file.read_bytes())

    return put


@pytest.fixture
def encoder():
    """Builds an encoder from its options."""

    def build(options, training=False):
        context = Context(torch.device("cpu"), torch.float32, 0, LABELS, WeightsStore(), training=training)
        return OpenClipEncoder(OpenClipConfig(**options), context)

    return build


@pytest.fixture
def references():
    """The weights that options lead to."""
    component = default_registry().get("encoder", "open-clip").component
    return lambda **options: list(component.weights(OpenClipConfig(**options)))


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe with this encoder and a head of zeros; returns its path."""

    def write(options):
        head = {"classifier.weight": torch.zeros(len(LABELS), 24), "classifier.bias": torch.zeros(len(LABELS))}
        save_file(head, tmp_path / "head.safetensors", {"labels": json.dumps(LABELS)})
        settings = {
            "ferkit": 1,
            "name": "t",
            "labels": list(LABELS),
            "detector": {"use": "whole-image"},
            "encoders": {"clip": {"use": "open-clip", **options}},
            "head": {"use": "linear", "weights": "head.safetensors"},
            "prompts": {"templates": ["a photo of {label}"]},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


@pytest.fixture
def features():
    """What a recipe's encoder makes of views."""

    def encode(path, pixels):
        views = FaceViews(pixels, torch.arange(len(pixels)), ("aligned",) * len(pixels), torch.zeros(len(pixels)) > 0)
        return ferkit.pipeline(path).features(views).encoders["clip"]

    return encode


@pytest.fixture
def face():
    """The portrait as a square picture of any size, and as a view."""

    def both(size):
        picture = Image.fromarray(face_picture().permute(1, 2, 0).numpy()).resize((size, size))
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(1, size, size, 3)
        return picture, pixels.permute(0, 3, 1, 2) / 255

    return both
