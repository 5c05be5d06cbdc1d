"""Pooled features, tokens, texts and preprocessing are open_clip's own."""

import json

import open_clip
import pytest
import torch
from torch.nn import functional as F

LABELS = ("neutral", "happiness", "sadness")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
# Width of the tokens before the projection; CoCa's are those of its pooler. RN50's 2048 is 32 times its width.
TOKEN_DIMS = {"clip": 32, "custom": 32, "coca": 24, "resnet": 256, "timm-vit": 64, "timm-convolutional": 64}


def normalized(pixels):
    return (pixels - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def test_a_recipe_gives_what_open_clip_gives(name, folders, tmp_path, features, recipe, face):
    (tmp_path / "saved").symlink_to(folders[name])
    path = recipe({"local_dir": "saved", "text": True})
    settings = json.loads((folders[name] / "open_clip_config.json").read_text())
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folders[name]}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folders[name]}")
    picture, view = face(settings["model_cfg"]["vision_cfg"]["image_size"])
    found = features(path, view)
    with torch.inference_mode():
        pooled = model.eval().encode_image(preprocess(picture).unsqueeze(0), normalize=False)  # which CoCa would
        text = F.normalize(model.encode_text(tokenize([f"a photo of {label}" for label in LABELS])), dim=-1)
    assert torch.allclose(found.pooled, pooled, atol=1e-5)
    assert torch.allclose(found.text, text, atol=1e-5)
    assert found.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert found.pooled.shape == (1, 24)
    assert found.tokens.shape[2] == TOKEN_DIMS[name]


@pytest.mark.parametrize("name", ["clip", "custom", "coca"])
def test_tokens_are_those_of_open_clip(name, folders, encoder):
    model = open_clip.create_model(f"local-dir:{folders[name]}").eval()
    model.visual.output_tokens = True
    views = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        _, tokens = model.visual(normalized(views))
        found = encoder({"local_dir": str(folders[name])})(views).tokens
    assert torch.allclose(found, tokens, atol=1e-5)
    assert found.shape[1] == (255 if name == "coca" else 16)


def test_tokens_of_a_resnet_are_the_places_of_its_last_map(folders, encoder):
    model = open_clip.create_model(f"local-dir:{folders['resnet']}").eval()
    views = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        last = model.visual.forward_intermediates(normalized(views), intermediates_only=True)["image_intermediates"][-1]
        found = encoder({"local_dir": str(folders["resnet"])})(views).tokens
    assert found.shape == (2, 4, 256)
    assert torch.allclose(found[:, 1], last[:, :, 0, 1], atol=1e-5)


def test_tokens_of_a_timm_tower_leave_out_the_class_token(folders, encoder):
    model = open_clip.create_model(f"local-dir:{folders['timm-vit']}").eval()
    views = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        every = model.visual.trunk.forward_features(normalized(views))
        found = encoder({"local_dir": str(folders["timm-vit"])})(views).tokens
    assert torch.allclose(found, every[:, model.visual.trunk.num_prefix_tokens :], atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [20, 150])
def test_views_of_another_size_are_resized_as_open_clip_resizes_pictures(
    interpolation, size, tmp_path, encoder, save, models, face
):
    """Views are resized as fractions; pictures in steps of 1/255, rounded, and cut to 0..1, after each direction."""
    save(tmp_path, models["clip"], {"mean": MEAN, "std": STD, "interpolation": interpolation})
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    built, seen = encoder({"local_dir": str(tmp_path)}), []
    built.module["visual"].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    picture, view = face(size)
    built(view)
    steps = (seen[0][0] - preprocess(picture)) * torch.tensor(STD).reshape(3, 1, 1) * 255
    assert steps.abs().mean() < 0.5
    assert steps.abs().quantile(0.99) < 1


def test_another_image_size_interpolates_positions_as_open_clip_does(folders, encoder):
    model = open_clip.create_model(f"local-dir:{folders['clip']}", force_image_size=48).eval()
    views = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        found = encoder({"local_dir": str(folders["clip"]), "image_size": 48})(views)
        assert torch.allclose(found.pooled, model.encode_image(normalized(views)), atol=1e-5)
    assert found.tokens.shape == (2, 36, 32)


def test_another_image_size_of_a_timm_transformer(folders, encoder):
    model = open_clip.create_model(f"local-dir:{folders['timm-vit']}", force_image_size=96).eval()
    views = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        found = encoder({"local_dir": str(folders["timm-vit"]), "image_size": 96})(views)
        assert torch.allclose(found.pooled, model.encode_image(normalized(views)), atol=1e-5)
