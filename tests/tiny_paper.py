"""Tiny checkpoints of every class that the recipe ``paper`` names, for tests that run it whole."""

import hashlib
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import open_clip
import timm
import torch
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
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


def tiny_paper(root):
    """What turns ``paper`` into ``paper-tiny``: the same components, with tiny checkpoints, written below ``root``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
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
