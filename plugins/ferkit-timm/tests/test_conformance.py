import pytest
import timm
import torch
from safetensors.torch import save_file

from ferkit.testing import EncoderSuite


@pytest.fixture(scope="class", autouse=True)
def checkpoint(request, tmp_path_factory):
    """A random checkpoint of the real class, named by the suite's configuration."""
    torch.manual_seed(0)
    cls = request.cls
    path = tmp_path_factory.mktemp("timm") / f"{cls.model}.safetensors"
    save_file(timm.create_model(cls.model, num_classes=3, **cls.arguments).state_dict(), path)
    cls.config = {"model": cls.model, "weights": str(path), "image_size": 64, **cls.more}


class Timm(EncoderSuite):
    __test__ = False
    component = "timm"
    distribution = "ferkit-timm"
    labels = ("neutral", "happiness", "sadness")
    model = "test_efficientnet"
    arguments = {}
    more = {}


class TestConvolutional(Timm):
    __test__ = True
    more = {"labels": ["happy", "sad", "neutral"]}


class TestTransformer(Timm):
    __test__ = True
    model = "vit_tiny_patch16_224"
    arguments = {"img_size": 64}


class TestLayersOfATransformer(Timm):
    __test__ = True
    model = "test_vit"
    arguments = {"img_size": 64}
    more = {"layers": [1, -1]}


class TestStagesOfAPyramid(Timm):
    __test__ = True
    more = {"layers": [1, 3]}
