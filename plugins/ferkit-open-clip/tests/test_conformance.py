import pytest

from ferkit.testing import EncoderSuite


class OpenClip(EncoderSuite):
    __test__ = False
    component = "open-clip"
    distribution = "ferkit-open-clip"
    model = ""
    more = {}

    @pytest.fixture(autouse=True)
    def checkpoint(self, folders):
        self.folder = folders[self.model]

    def options(self):
        return {
            "local_dir": str(self.folder),
            "weights": str(self.folder / "open_clip_model.safetensors"),
            **self.more,
        }


class TestImagesAlone(OpenClip):
    __test__ = True
    model = "clip"


class TestImagesAndTexts(OpenClip):
    __test__ = True
    model = "custom"
    more = {"text": True}


class TestResNet(OpenClip):
    __test__ = True
    model = "resnet"


class TestTimm(OpenClip):
    __test__ = True
    model = "timm-convolutional"
    more = {"text": True}
