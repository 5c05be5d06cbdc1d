import json
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import ferkit
from ferkit import Context, FerkitError, WeightsError
from ferkit.weights import WeightsStore
from ferkit_nano import WEIGHTS, NanoConfig
from ferkit_nano.encoder import NanoEncoder
from ferkit_nano.network import MEAN, STD

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
FILE = resources.files("ferkit_nano") / "weights" / "nano.safetensors"


def context(labels=LABELS, training=False):
    return Context(torch.device("cpu"), torch.float32, 0, labels, WeightsStore(), training=training)


def encode(views, options=None, **more):
    with torch.inference_mode():
        return NanoEncoder(NanoConfig(**(options or {})), context(**more))(views)


def test_the_network_is_timms_mobilenetv1():
    model = timm.create_model("mobilenetv1_100", num_classes=7, in_chans=1, pad_type="same", bn_eps=1e-3).eval()
    tensors = {name: tensor.float() for name, tensor in load_file(FILE).items()}
    assert not [name for name in model.load_state_dict(tensors, strict=False).missing_keys if "num_batches" not in name]
    grey = torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model((grey - MEAN) / STD)
    assert torch.allclose(
        encode(grey.expand(-1, 3, -1, -1), {"mirror": False, "crops": [1]}).logits, expected, atol=1e-3
    )


def test_outputs_and_zero_views():
    for count in (0, 1, 5):
        output = encode(torch.rand(count, 3, 112, 112))
        assert output.pooled.shape == (count, 1024)
        assert output.tokens.shape == (count, 9, 1024)
        assert output.logits.shape == (count, 7)


def test_a_face_and_its_mirror_image_are_answered_alike():
    views = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(encode(views).logits, encode(views.flip(-1)).logits, atol=1e-4)
    alone = {"mirror": False}
    assert not torch.allclose(encode(views, alone).logits, encode(views.flip(-1), alone).logits, atol=1e-2)


@pytest.mark.parametrize("mirror", [True, False])
def test_logits_are_the_mean_over_crops_and_features_are_of_the_first(mirror):
    views = torch.rand(2, 3, 120, 120, generator=torch.Generator().manual_seed(3))
    both = encode(views, {"mirror": mirror, "crops": [1, 0.8]})
    whole, middle = (encode(seen, {"mirror": mirror, "crops": [1]}) for seen in (views, views[..., 12:-12, 12:-12]))
    assert not torch.allclose(whole.logits, middle.logits, atol=1e-2)
    assert torch.allclose(both.logits, (whole.logits + middle.logits) / 2, atol=1e-4)
    assert torch.equal(both.pooled, whole.pooled) and torch.equal(both.tokens, whole.tokens)


def test_it_learns_from_the_first_crop_alone_and_is_judged_by_all():
    views = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    alone = NanoEncoder(NanoConfig(mirror=False, crops=[0.9]), context(training=True))
    several = NanoEncoder(NanoConfig(mirror=True, crops=[0.9, 0.7]), context(training=True))
    several.module.eval()
    with torch.inference_mode():
        judged = several(views).logits
    assert torch.allclose(judged, encode(views, {"crops": [0.9, 0.7]}).logits, atol=1e-3)
    several.module.train(), alone.module.train()
    assert torch.equal(several(views).logits, alone(views).logits)


def test_features_are_those_of_the_first_crop():
    views = torch.rand(2, 3, 101, 101, generator=torch.Generator().manual_seed(5))
    assert torch.equal(
        encode(views, {"crops": [0.8, 1]}).pooled, encode(views[..., 10:-10, 10:-10], {"crops": [1]}).pooled
    )


@pytest.mark.parametrize(
    ("crops", "told"),
    [
        ([], "(override): must have at least 1, not 0"),
        ([1, 0.4], ".1 (override): Input should be greater than or equal to 0.5, not 0.4"),
        ([1.2], ".0 (override): Input should be less than or equal to 1, not 1.2"),
        ([[1, 0.9]], ".0 (override): Input should be a valid number"),
        (1.0, "(override): must be a list, not 1.0"),
    ],
)
def test_crops_that_show_no_face_are_refused(crops, told):
    with pytest.raises(FerkitError) as error:
        ferkit.load_recipe("default", {"encoders.nano.crops": crops})
    assert "encoders.nano.crops" + (told if told[0] == "." else f" {told}") in str(error.value)
    assert str(error.value).startswith("default has a problem:")


def test_a_photo_and_its_grey_copy_are_answered_alike():
    views = torch.rand(2, 3, 96, 96)
    grey = (views * torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(encode(views).logits, encode(grey).logits, atol=1e-3)


def test_logits_follow_the_recipes_labels_by_name():
    views = torch.rand(2, 3, 96, 96)
    all_of_them, some = encode(views).logits, encode(views, labels=("anger", "neutral")).logits
    assert torch.equal(some, all_of_them[:, [6, 0]])


def test_without_a_column_for_every_label_there_are_no_logits():
    output = encode(torch.rand(2, 3, 96, 96), labels=("neutral", "contempt"))
    assert output.logits is None
    assert output.pooled.shape == (2, 1024)
    with pytest.raises(
        FerkitError, match=r"average-probabilities needs logits .* encoders\.nano has no column for contempt"
    ):
        ferkit.pipeline("default", {"labels": [*LABELS, "contempt"]})


def test_threads_that_come_together_fuse_once():
    encoder, views = NanoEncoder(NanoConfig(), context()), torch.rand(1, 3, 96, 96)
    alone = encode(views).logits
    start = threading.Barrier(8)

    def call(_):
        start.wait()
        with torch.inference_mode():
            return encoder(views).logits

    with ThreadPoolExecutor(8) as pool:
        for logits in pool.map(call, range(8)):
            assert torch.allclose(logits, alone, atol=1e-4)


def test_weights_without_labels_or_of_another_network_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="metadata must name `labels` and `size`"):
        NanoEncoder(NanoConfig(weights=str(tmp_path / "bare.safetensors")), context())
    meta = {"labels": json.dumps(LABELS), "size": "80"}
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", metadata=meta)
    with pytest.raises(WeightsError, match="holds another network"):
        NanoEncoder(NanoConfig(weights=str(tmp_path / "other.safetensors")), context())


def test_it_can_learn_on():
    encoder = NanoEncoder(NanoConfig(), context(training=True))
    parameters = [id(parameter) for stage in encoder.stages() for parameter in stage]
    assert sorted(parameters) == sorted(id(parameter) for parameter in encoder.module.parameters())
    encoder(torch.rand(2, 3, 96, 96)).logits.sum().backward()
    assert encoder.module.conv_stem.weight.grad is not None


def test_the_weights_are_small_and_pinned():
    assert FILE.stat().st_size <= 12e6
    assert ferkit.load_recipe("default").digest
    assert WeightsStore().path(WEIGHTS) == FILE
