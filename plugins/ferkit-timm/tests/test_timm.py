import pytest
import timm
import torch
from safetensors.torch import save_file

import ferkit
from ferkit import ComponentError, Context, RecipeError, WeightsError
from ferkit.weights import WeightsStore
from ferkit_timm import TimmConfig
from ferkit_timm.encoder import TimmEncoder

LABELS = ("neutral", "happiness", "sadness")
MODELS = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "test_efficientnet": {},
    "swin_tiny_patch4_window7_224": {"img_size": 64},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def context(training=False, device="cpu"):
    return Context(torch.device(device), torch.float32, 0, LABELS, WeightsStore(), training=training)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Random classifiers of timm's real classes, saved as users would."""
    folder, models = tmp_path_factory.mktemp("timm"), {}
    torch.manual_seed(0)
    for name, arguments in MODELS.items():
        model = timm.create_model(name, num_classes=3, **arguments).eval()
        path = folder / f"{name}.safetensors"
        save_file(model.state_dict(), path)
        models[name] = (model, path)
    return models


def config(name, path, **more):
    return TimmConfig(model=name, weights=str(path), image_size=64, **more)


@pytest.mark.parametrize("name", MODELS)
def test_gives_what_timm_gives_by_hand(checkpoints, name):
    model, path = checkpoints[name]
    encoder = TimmEncoder(config(name, path, labels=("sad", "neutral", "happy")), context())
    views = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        settings = timm.data.resolve_model_data_config(model)
        mean, std = (torch.tensor(settings[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        normal = (views - mean) / std
        logits, pooled = model(normal), model.forward_head(model.forward_features(normal), pre_logits=True)
        output = encoder(views)
    assert torch.allclose(output.logits, logits[:, [1, 2, 0]], atol=1e-5)
    assert torch.allclose(output.pooled, pooled, atol=1e-5)
    assert output.pooled.shape[1] == encoder.dim
    assert output.tokens.shape[2] == encoder.token_dim


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_weights_of_another_input_size_are_resampled(checkpoints, name, size):
    _, path = checkpoints[name]
    overlay = {"file": str(path), "num_classes": 3, "custom_load": False}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3, img_size=size)
    encoder = TimmEncoder(TimmConfig(model=name, weights=str(path), image_size=size), context())
    views = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        maps = model.eval().forward_features((views - encoder.mean) / encoder.std)
        expected = maps[:, 1:] if maps.ndim == 3 else maps.flatten(1, 2)
        assert torch.allclose(encoder(views).tokens, expected, atol=1e-4)


def test_tokens_are_patches_without_the_class_token(checkpoints):
    name = "vit_tiny_patch16_224"
    encoder = TimmEncoder(config(name, checkpoints[name][1]), context())
    with torch.inference_mode():
        output = encoder(torch.rand(1, 3, 64, 64))
    assert output.tokens.shape == (1, 16, 192)
    assert output.logits is None


def test_views_of_any_size_are_resized_to_the_models(checkpoints):
    name = "test_efficientnet"
    encoder = TimmEncoder(config(name, checkpoints[name][1]), context())
    with torch.inference_mode():
        assert encoder(torch.rand(2, 3, 30, 30)).pooled.shape == (2, encoder.dim)
        assert encoder(torch.rand(0, 3, 64, 64)).pooled.shape == (0, encoder.dim)


def test_no_views_give_nothing_on_the_encoders_device(checkpoints):
    path = checkpoints["test_efficientnet"][1]
    encoder = TimmEncoder(config("test_efficientnet", path, labels=LABELS), context(device="meta"))
    output = encoder(torch.zeros(0, 3, 64, 64))
    assert {each.device.type for each in (output.pooled, output.tokens, output.logits)} == {"meta"}


@pytest.mark.parametrize("name", MODELS)
def test_stages_hold_every_parameter_once(checkpoints, name):
    encoder = TimmEncoder(config(name, checkpoints[name][1]), context(training=True))
    found = [id(parameter) for stage in encoder.stages() for parameter in stage]
    assert sorted(found) == sorted(id(parameter) for parameter in encoder.module.parameters())
    assert len(encoder.stages()) > 1
    assert all(parameter.requires_grad for parameter in encoder.module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_layers_choose_the_tokens_and_nothing_else(checkpoints, name):
    model, path = checkpoints[name]
    plain = TimmEncoder(config(name, path), context())
    chosen = TimmEncoder(config(name, path, layers=(-1, 1)), context())
    views = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        settings = timm.data.resolve_model_data_config(model)
        mean, std = (torch.tensor(settings[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        wanted = [1, len(model.feature_info) - 1]
        early, late = model.forward_intermediates((views - mean) / std, wanted, norm=True, intermediates_only=True)
        before, after = plain(views), chosen(views)
    width, side = early.shape[1], late.shape[-1]
    assert after.tokens.shape == (2, side * side, width + late.shape[1])
    assert chosen.token_dim == after.tokens.shape[2]
    assert torch.allclose(after.tokens[..., width:], late.flatten(2).transpose(1, 2), atol=1e-5)
    pooled = early.reshape(2, width, side, early.shape[2] // side, side, -1).mean((3, 5))
    assert torch.allclose(after.tokens[..., :width], pooled.flatten(2).transpose(1, 2), atol=1e-5)
    assert torch.allclose(after.pooled, before.pooled, atol=1e-5)


def test_the_last_layer_of_a_transformer_is_its_output(checkpoints):
    name = "vit_tiny_patch16_224"
    encoders = (TimmEncoder(config(name, checkpoints[name][1], layers=layers), context()) for layers in (None, (-1,)))
    views = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(*(encoder(views).tokens for encoder in encoders), atol=1e-5)


def test_a_layer_that_is_not_there_is_a_clear_error(checkpoints):
    name = "vit_tiny_patch16_224"
    with pytest.raises(ComponentError, match="has layers 0 to 11, and -1 for the last, but no 12"):
        TimmEncoder(config(name, checkpoints[name][1], layers=(3, 12)), context())


def test_weights_of_another_model_are_refused(checkpoints):
    with pytest.raises(WeightsError, match="does not fit test_efficientnet"):
        TimmEncoder(config("test_efficientnet", checkpoints["vit_tiny_patch16_224"][1]), context())
    with pytest.raises(WeightsError, match="size mismatch"):
        TimmEncoder(
            config("test_efficientnet", checkpoints["test_efficientnet"][1], labels=("neutral", "happiness")), context()
        )


def test_a_classifier_that_lacks_labels_names_them_and_gives_no_logits(checkpoints):
    path = checkpoints["test_efficientnet"][1]
    encoder = TimmEncoder(config("test_efficientnet", path, labels=("neutral", "happy", "anger")), context())
    assert encoder.missing_labels == ("sadness",)
    for count in (0, 2):
        output = encoder(torch.rand(count, 3, 64, 64))
        assert output.logits is None and len(output.pooled) == count


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"model.safetensors of timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k at main"
    ):
        TimmEncoder(TimmConfig(model="vit_tiny_patch16_224"), context())


def test_an_unknown_model_gets_names_near_it():
    with pytest.raises(ComponentError, match=r"no model 'vit_tinny'; near it: .*vit"):
        TimmEncoder(TimmConfig(model="vit_tinny", weights="x.safetensors"), context())


def test_a_typo_in_the_recipe_is_refused():
    bad = {"use": "timm", "model": "resnet18", "wieghts": "x"}
    with pytest.raises(RecipeError, match=r"encoders.x.wieghts \(recipe\): unknown key \(did you mean weights\?\)"):
        ferkit.load_recipe(
            {
                "ferkit": 1,
                "name": "t",
                "detector": {"use": "whole-image"},
                "encoders": {"x": bad},
                "head": {"use": "linear"},
            }
        )
