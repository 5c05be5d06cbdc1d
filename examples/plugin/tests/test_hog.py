"""The conformance kit, what the kit can't know of this encoder, and the recipe from training to prediction."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import ferkit
from ferkit.testing import EncoderSuite, face_picture
from ferkit_example_hog import HogConfig

torch.set_num_threads(1)


class TestHog(EncoderSuite):
    component = "hog"
    distribution = "ferkit-example-hog"


class TestCoarseHog(EncoderSuite):
    component = "hog"
    config = {"cells": 3, "cell_size": 5, "bins": 4}


@pytest.fixture(scope="module")
def recipe():
    return ferkit.load_recipe("hog-linear", {"labels": ["happiness", "neutral"]})


def encode(pixels, **options):
    suite = TestHog()
    return suite.build(options=options)(pixels)


@pytest.mark.parametrize(("stripes", "bin_"), [("vertical", 0), ("horizontal", 2)])
def test_stripes_have_one_orientation(stripes, bin_):
    """With bins of 45 degrees about 22.5, 67.5, …, a gradient across votes for the first and last, one down for the middle."""
    wave = torch.sin(torch.arange(64) / 3).expand(64, 64) / 2 + 0.5
    pixels = (wave if stripes == "vertical" else wave.T).expand(1, 3, 64, 64)
    cells = encode(pixels, bins=4).tokens.reshape(-1, 4, 4).sum((0, 2))
    assert cells[bin_] == pytest.approx(float(cells.sum()) / 2, rel=1e-4)
    assert cells[(bin_ - 1) % 4] == pytest.approx(float(cells.sum()) / 2, rel=1e-4)


def test_light_changes_nothing():
    face = face_picture().unsqueeze(0) / 255
    # where two colours' gradients are equally strong, rounding decides which one votes
    torch.testing.assert_close(encode(face * 0.5 + 0.1).pooled, encode(face).pooled, atol=0.01, rtol=0)


def test_against_scikit_image():
    """Nearly scikit-image's blocks; its votes are not shared, and at the border it has no gradient."""
    feature = pytest.importorskip("skimage.feature")
    face = F.interpolate(face_picture().unsqueeze(0) / 255, size=(64, 64)).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    other = feature.hog(face[0, 0].numpy(), 9, (8, 8), (2, 2), "L2-Hys", feature_vector=False)
    ours = encode(face).tokens[0].reshape(7, 7, 9, 4).permute(0, 1, 3, 2).flatten(2)
    theirs = torch.from_numpy(other.copy()).float().reshape(7, 7, 36)
    alike = F.cosine_similarity(ours, theirs, dim=-1)[1:-1, 1:-1]
    assert alike.min() > 0.9, alike


def test_needs_at_least_one_block():
    with pytest.raises(ferkit.RecipeError, match=r"encoders\.hog\.cells"):
        ferkit.load_recipe("hog-linear", {"encoders.hog.cells": 1})
    assert HogConfig().cells == 8


def test_recipe_says_that_its_head_must_be_trained(recipe):
    with pytest.raises(ferkit.WeightsError, match="the head has no weights: name those it was trained to"):
        ferkit.pipeline(recipe)


def test_recipe_predicts_once_trained(recipe, tmp_path):
    """A head with one column that answers to the portrait and one to its negative tells the two apart."""
    face = face_picture()
    upside_down = face.flip(1)
    pooled = encode(torch.stack([face, upside_down]) / 255).pooled
    weight = F.normalize(pooled - pooled.mean(0)) * 10
    bias = -(weight @ pooled.mean(0))
    path = tmp_path / "head.safetensors"
    labels = json.dumps(list(recipe.labels))
    save_file({"classifier.weight": weight, "classifier.bias": bias}, path, {"labels": labels})
    overrides = {"labels": list(recipe.labels), "head.weights": str(path)}
    predictions = ferkit.pipeline("hog-linear", overrides)([face, upside_down])
    assert [prediction.label for prediction in predictions] == ["happiness", "neutral"]
    assert "whole_image" in predictions[0].flags
