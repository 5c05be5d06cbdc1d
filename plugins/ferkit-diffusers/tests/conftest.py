"""Tiny checkpoints of every editor, and what builds a normalizer from them."""

import pytest
import tiny
import torch

from ferkit import Context, WeightsStore
from ferkit.labels import SEVEN
from ferkit_diffusers import normalizer
from ferkit_diffusers.options import AnyEditorConfig, EditorConfig

SMALL = {
    "qwen-image-edit": {"resolution": 64},
    "qwen-image-edit-plus": {"resolution": 64},
    "qwen-image-2.1": {"resolution": 64},
    "flux-kontext": {"resolution": 64, "call": {"_auto_resize": False}},
    "instruct-pix2pix": {"resolution": 64},
}
"""Options that make the tiny checkpoints quick."""
CLASSES = {cls.editor: cls for cls in normalizer.DiffusersNormalizer.__subclasses__()}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def small_area(monkeypatch):
    tiny.shrink(monkeypatch)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """``checkpoint(editor)``: the folder of its tiny checkpoint."""
    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = tiny.save(name, tmp_path_factory.mktemp("editor") / name)
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def small(checkpoint):
    """``small(editor)``: options with which it is quick."""
    return lambda name: {"folder": str(checkpoint(name)), "steps": 2, **SMALL[name]}


@pytest.fixture
def build(small):
    """``build(editor, **options)``: a normalizer on the tiny checkpoint; an option None removes it."""

    def built(editor="qwen-image-edit", checkpoint=None, store=None, labels=SEVEN, seed=0, **options):
        given = {key: value for key, value in {**small(checkpoint or editor), **options}.items() if value is not None}
        config = (AnyEditorConfig if editor == "diffusers-edit" else EditorConfig)(**given)
        cls = CLASSES[None if editor == "diffusers-edit" else editor]
        return cls(config, Context(torch.device("cpu"), torch.float32, seed, labels, store or WeightsStore()))

    return built
