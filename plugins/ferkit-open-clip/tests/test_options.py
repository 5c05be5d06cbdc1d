"""Options, and learning."""

import pytest
import torch
from torch.nn import functional as F

import ferkit
from ferkit import ComponentError, RecipeError
from ferkit.interfaces import TextEncoder
from ferkit_open_clip import OpenClipConfig

TEXTS = ["a happy face", "a photo of a face with an expression of sadness", "x"]


def test_open_clips_spelling_of_a_folder_is_understood(folders):
    assert OpenClipConfig(model=f"local-dir:{folders['clip']}") == OpenClipConfig(local_dir=str(folders["clip"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either `model`"),
        ({"model": "ViT-B-16"}, "name the weights of the model"),
        ({"model": "ViT-B-16", "local_dir": "x"}, "give either `model`"),
        ({"local_dir": "x", "pretrained": "openai"}, "`pretrained` is a tag of a `model`"),
        ({"model": "local-dir:x"}, "write local_dir: x"),
        ({"model": "hf-hub:owner/name"}, "give its folder as `local_dir`"),
        ({"model": "ViT-B-16", "weights": "x.bin"}, "only .safetensors and .onnx files are loaded"),
        ({"model": "ViT-B-16", "pretraind": "openai"}, r"unknown key \(did you mean pretrained\?\)"),
    ],
)
def test_options_that_make_no_model_are_refused(options, message, tmp_path, recipe):
    with pytest.raises(RecipeError, match=message):
        ferkit.load_recipe(recipe(options))


def test_without_text_there_is_no_text_tower(folders, tmp_path, encoder, features, recipe):
    (tmp_path / "saved").symlink_to(folders["clip"])
    path = recipe({"local_dir": "saved"})
    assert "text" not in ferkit.load_recipe(path).encoders["clip"].provides
    assert features(path, torch.rand(1, 3, 32, 32)).text is None
    built = encoder({"local_dir": str(folders["clip"])})
    assert not isinstance(built, TextEncoder)
    assert all(name.startswith("visual.") for name in built.module.state_dict())
    assert built.text_stages() == []
    with pytest.raises(ComponentError, match="set its option `text: true`"):
        built.encode_text(["x"])


def test_bf16_is_close_to_float32(folders, encoder, face):
    options = {"local_dir": str(folders["clip"]), "text": True}
    exact, rough = encoder(options), encoder({**options, "bf16": True})
    assert {parameter.dtype for parameter in rough.module.parameters()} == {torch.bfloat16}
    _, view = face(32)
    with torch.inference_mode():
        pairs = [(exact(view).pooled, rough(view).pooled), (exact.encode_text(TEXTS), rough.encode_text(TEXTS))]
        pairs += [(exact(view).tokens, rough(view).tokens)]
    for float32, bf16 in pairs:
        assert bf16.dtype == torch.float32
        assert F.cosine_similarity(float32, bf16, dim=-1).min() > 0.999


def test_bf16_serves_a_head_that_learns_and_does_not_learn_itself(folders, encoder):
    built = encoder({"local_dir": str(folders["clip"]), "bf16": True}, training=True)
    assert built(torch.rand(1, 3, 32, 32)).pooled.shape == (1, 24)
    with pytest.raises(ComponentError, match="does not learn with its option `bf16`"):
        built.stages()


def test_gradients_reach_every_stage_and_text_stage(name, folders, encoder):
    built = encoder({"local_dir": str(folders[name]), "text": True}, training=True)
    output = built(torch.rand(2, 3, 64, 64))
    (output.pooled.square().sum() + output.tokens.square().sum()).backward()
    assert all(parameter.grad is not None for stage in built.stages() for parameter in stage)
    assert all(parameter.grad is None for stage in built.text_stages() for parameter in stage)
    built.encode_text(TEXTS).square().sum().backward()
    assert all(parameter.grad is not None for stage in built.text_stages() for parameter in stage)
    found = [id(parameter) for stage in [*built.stages(), *built.text_stages()] for parameter in stage]
    assert sorted(found) == sorted(id(parameter) for parameter in built.module.parameters())


def test_stages_go_from_embedding_through_blocks_to_projection(folders, encoder):
    built = encoder({"local_dir": str(folders["clip"]), "text": True}, training=True)
    names = {id(parameter): name for name, parameter in built.module.named_parameters()}
    stages = [{names[id(parameter)] for parameter in stage} for stage in built.stages()]
    assert len(stages) == 4
    assert {"visual.conv1.weight", "visual.positional_embedding", "visual.class_embedding"} < stages[0]
    assert {name.split(".resblocks.")[1][0] for name in stages[1]} == {"0"}
    assert {name.split(".resblocks.")[1][0] for name in stages[2]} == {"1"}
    assert stages[3] == {"visual.ln_post.weight", "visual.ln_post.bias", "visual.proj"}
    last = {names[id(parameter)] for parameter in built.text_stages()[-1]}
    assert last == {"text.ln_final.weight", "text.ln_final.bias", "text.text_projection"}
