"""Where model and weights come from, and what is said where they are not there."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

import ferkit
from ferkit import ComponentError, WeightsError

WEIGHTS = "open_clip_model.safetensors"


def normalized(pixels, mean, std):
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


@pytest.fixture
def known(folders, tmp_path, monkeypatch, models):
    """The model ``tiny-clip``, known to open_clip by name, with three tags."""
    factory, table = open_clip.factory, open_clip.pretrained
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    path = tmp_path / "configs" / "tiny-clip.json"
    path.parent.mkdir()
    path.write_text(json.dumps(models["clip"]))
    open_clip.add_model_config(path)
    tags = {
        "openai": table._pcfg(hf_hub="timm/tiny_clip.openai/", quick_gelu=True),
        "webli": table._slpcfg(hf_hub="timm/tiny_clip.webli/"),
        "pickled": table._pcfg(hf_hub="owner/tiny/pytorch_model.bin"),
    }
    monkeypatch.setitem(table._PRETRAINED, "tiny-clip", tags)
    return folders["clip"]


def test_a_tag_is_found_on_the_hub_with_its_own_statistics_and_activation(
    known, no_hub, tmp_path, features, recipe, put_in_hub
):
    for tag in ("openai", "webli"):
        put_in_hub(f"timm/tiny_clip.{tag}", known)
    views = torch.rand(1, 3, 32, 32)
    for tag, quick_gelu in (("openai", True), ("webli", False)):
        found = features(recipe({"model": "tiny-clip", "pretrained": tag}), views)
        settings = open_clip.get_pretrained_cfg("tiny-clip", tag)
        model = open_clip.create_model("tiny-clip", str(known / WEIGHTS), force_quick_gelu=quick_gelu).eval()
        with torch.inference_mode():
            expected = model.encode_image(normalized(views, settings["mean"], settings["std"]))
        assert torch.allclose(found.pooled, expected, atol=1e-5)


def test_a_file_of_a_known_model_needs_its_tag_where_tags_differ(known, encoder):
    options = {"model": "tiny-clip", "weights": str(known / WEIGHTS)}
    with pytest.raises(ComponentError, match="differ in their mean, std or resizing: say with `pretrained`"):
        encoder(options)
    views = torch.rand(1, 3, 32, 32)
    model = open_clip.create_model("tiny-clip", str(known / WEIGHTS)).eval()
    with torch.inference_mode():
        expected = model.encode_image(normalized(views, [0.5] * 3, [0.5] * 3))
        assert torch.allclose(encoder({**options, "pretrained": "webli"})(views).pooled, expected, atol=1e-5)


def test_a_file_of_a_model_without_tags_gets_open_clips_statistics(known, monkeypatch, encoder):
    monkeypatch.delitem(open_clip.pretrained._PRETRAINED, "tiny-clip")
    _, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", str(known / WEIGHTS))
    built = encoder({"model": "tiny-clip", "weights": str(known / WEIGHTS)})
    assert built.mean.flatten().tolist() == pytest.approx(preprocess.transforms[-1].mean)
    assert built.std.flatten().tolist() == pytest.approx(preprocess.transforms[-1].std)


def test_weights_of_a_tag_are_listed_by_their_place_on_the_hub(folders, references):
    found = references(model="ViT-B/16", pretrained="openai")
    assert found == ["hf://timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors@main"]
    assert references(local_dir=str(folders["clip"])) == [str(folders["clip"] / WEIGHTS)]
    assert references(model="ViT-B-16", weights="x.safetensors") == ["x.safetensors"]


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch, recipe):
    monkeypatch.delenv("FERKIT_OFFLINE")
    path = recipe({"model": "ViT-B-16", "pretrained": "openai"})
    with pytest.raises(WeightsError, match=r"open_clip_model.safetensors of timm/vit_base_patch16_clip_224.openai"):
        ferkit.pipeline(path)


def test_what_open_clip_does_not_know_is_refused_with_what_it_knows(encoder):
    with pytest.raises(ComponentError, match=r"no model 'ViT-B16'; near it: ViT-B-16"):
        encoder({"model": "ViT-B16", "pretrained": "openai"})
    with pytest.raises(ComponentError, match=r"no weights 'opanai' of ViT-B-16: choose openai, "):
        encoder({"model": "ViT-B-16", "pretrained": "opanai"})
    with pytest.raises(ComponentError, match="no weights 'openai' of ViT-S-32: it has none: name a file"):
        encoder({"model": "ViT-S-32", "pretrained": "openai"})


def test_a_tag_that_is_only_pickled_is_refused(encoder):
    with pytest.raises(WeightsError, match=r"only in a format that can run code when read \(jienengchen/ViTamin-S/pyt"):
        encoder({"model": "ViTamin-S", "pretrained": "datacomp1b"})


@pytest.mark.parametrize("training", [False, True])
def test_a_folder_without_weights_is_an_error_also_for_training(training, tmp_path, encoder, models):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": models["clip"]}))
    with pytest.raises(WeightsError, match=r"holds no weights: put open_clip_model.safetensors there"):
        encoder({"local_dir": str(tmp_path)}, training=training)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(WeightsError, match=r"only as open_clip_pytorch_model.bin, a format that can run code"):
        encoder({"local_dir": str(tmp_path)}, training=training)


def test_of_several_files_open_clips_own_name_is_taken(folders, tmp_path, encoder, references):
    for file in folders["clip"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file({"x": torch.zeros(1)}, tmp_path / "another.safetensors")
    assert references(local_dir=str(tmp_path)) == [str(tmp_path / WEIGHTS)]
    (tmp_path / WEIGHTS).rename(tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"holds another.safetensors, mine.safetensors: name one with `weights`"):
        encoder({"local_dir": str(tmp_path)})


def test_weights_of_another_model_are_refused(folders, encoder):
    options = {"local_dir": str(folders["clip"]), "weights": str(folders["resnet"] / WEIGHTS)}
    with pytest.raises(WeightsError, match=r"does not fit .*clip: visual\..* is missing.* more. Are they of another"):
        encoder(options)


def test_a_tensor_that_is_missing_or_misshapen_is_named(folders, tmp_path, encoder):
    tensors = load_file(folders["clip"] / WEIGHTS)
    options = {"local_dir": str(folders["clip"]), "weights": str(tmp_path / "x.safetensors")}
    save_file({**tensors, "visual.conv1.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"visual.conv1.weight has shape \[2\], not \[32, 3, 8, 8\]"):
        encoder(options)
    del tensors["logit_scale"]
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="no logit_scale"):
        encoder({**options, "text": True})
    del tensors["ln_final.weight"]
    save_file({**tensors, "logit_scale": torch.zeros(())}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"text.ln_final.weight is missing"):
        encoder({**options, "text": True})
    assert encoder(options).dim == 24  # it needs nothing of the text tower


def test_a_digest_is_checked(folders, encoder):
    weights = f"{folders['clip'] / WEIGHTS}#sha256={'0' * 64}"
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        encoder({"local_dir": str(folders["clip"]), "weights": weights})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        ("{", "is no configuration of open_clip"),
        ("[]", "is no configuration of open_clip"),
        ('{"model_cfg": {"embed_dim": 24, "vision_cfg": {}}}', "model_cfg lacks text_cfg"),
    ],
)
def test_a_folder_without_a_configuration_is_refused(content, message, tmp_path, encoder):
    if content is not None:
        (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ComponentError, match=message):
        encoder({"local_dir": str(tmp_path)})


def test_a_configuration_that_open_clip_cant_build_is_refused(folders, tmp_path, encoder, models):
    settings = {"model_cfg": {**models["clip"], "vision_cfg": {**models["clip"]["vision_cfg"], "surely_not": 1}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(ComponentError, match=r"open_clip can't build .*surely_not"):
        encoder({"local_dir": str(tmp_path), "weights": str(folders["clip"] / WEIGHTS)})
