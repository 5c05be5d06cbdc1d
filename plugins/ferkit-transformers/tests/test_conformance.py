import pytest
import torch

from ferkit.testing import EncoderSuite


@pytest.fixture(scope="class", autouse=True)
def checkpoint(request, save_checkpoint, tmp_path_factory):
    """A random checkpoint of the real class, named by the suite's configuration."""
    torch.manual_seed(0)
    cls = request.cls
    folder = tmp_path_factory.mktemp(cls.model)
    save_checkpoint(cls.model, folder)
    cls.config = {"folder": str(folder), **cls.more}


class Transformers(EncoderSuite):
    __test__ = False
    component = "transformers"
    distribution = "ferkit-transformers"
    labels = ("neutral", "happiness", "sadness")
    more = {}


class TestViT(Transformers):
    __test__ = True
    model = "vit"


class TestDinoWithRegisters(Transformers):
    __test__ = True
    model = "dinov2-registers"


class TestClassifier(Transformers):
    __test__ = True
    model = "vit-classifier"
    more = {"classifier": True}


class TestConvolutionalClassifier(Transformers):
    __test__ = True
    model = "resnet-classifier"
    more = {"classifier": True}


class TestPyramid(Transformers):
    __test__ = True
    model = "swin"


class TestClipTower(Transformers):
    __test__ = True
    model = "clip"


class Reading(Transformers):
    more = {"text": True}


class TestClip(Reading):
    __test__ = True
    model = "clip"


class TestSiglip(Reading):
    __test__ = True
    model = "siglip"
