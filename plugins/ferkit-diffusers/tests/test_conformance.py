import pytest
import torch

from ferkit.testing import NormalizerSuite, grid


class Editor(NormalizerSuite):
    __test__ = False
    distribution = "ferkit-diffusers"
    entry_module = "ferkit_diffusers"

    @pytest.fixture(autouse=True)
    def _checkpoint(self, small):
        self.small = small

    def options(self):
        return {**self.small(self.component), "steps": 1, "guidance": 1.0, "batch_size": 3}

    def faces(self):
        (_, many), *rest = super().faces()[1:]
        return [(grid(1, 2), many.select(torch.tensor([0, 1]))), *rest[:2]]


class TestQwenImageEdit(Editor):
    __test__ = True
    component = "qwen-image-edit"


class TestQwenImageEditPlus(Editor):
    __test__ = True
    component = "qwen-image-edit-plus"


class TestQwenImage21(Editor):
    __test__ = True
    component = "qwen-image-2.1"


class TestFluxKontext(Editor):
    __test__ = True
    component = "flux-kontext"


class TestInstructPix2Pix(Editor):
    __test__ = True
    component = "instruct-pix2pix"


class TestAnyOther(Editor):
    __test__ = True
    component = "diffusers-edit"

    def options(self):
        return {**self.small("instruct-pix2pix"), "steps": 1}
