"""The built-ins pass the conformance kit."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ferkit import Faces, ImageBatch
from ferkit.testing import DetectorSuite, HeadSuite, NormalizerSuite, PoseSuite

torch.set_num_threads(1)


class BuiltIn:
    distribution = "ferkit"
    entry_module = "ferkit.builtin"


class TestWholeImage(BuiltIn, DetectorSuite):
    component = "whole-image"
    finds_faces = False


class TestGiven(BuiltIn, DetectorSuite):
    component = "given"
    finds_faces = False

    def batch(self, items):
        given = tuple(Faces.of([0], [[0.0, 0.0, item.shape[2], item.shape[1]]]) for item in items)
        return (ImageBatch(tuple(items), ("picture",) * len(items), given),)


class TestLandmarkPnP(BuiltIn, PoseSuite):
    component = "landmark-pnp"


class TestMirror(BuiltIn, NormalizerSuite):
    component = "mirror"


class TestResample(BuiltIn, NormalizerSuite):
    component = "resample"


class TestAverageProbabilities(BuiltIn, HeadSuite):
    component = "average-probabilities"


class TestLinear(BuiltIn, HeadSuite):
    component = "linear"
    training = True


class TestMLP(BuiltIn, HeadSuite):
    component = "mlp"
    training = True


@pytest.fixture(scope="class")
def trained(request, tmp_path_factory):
    """Weights of a linear head, for the suite's labels and inputs."""
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    suite = request.cls()
    width = sum(spec.dim for spec in suite.inputs().values())
    weight = torch.randn(len(suite.labels), width, generator=torch.Generator().manual_seed(0))
    tensors = {"classifier.weight": weight, "classifier.bias": torch.zeros(len(suite.labels))}
    save_file(tensors, path, {"labels": json.dumps(suite.labels)})
    request.cls.config = {"weights": str(path)}


@pytest.mark.usefixtures("trained")
class TestTrainedLinear(BuiltIn, HeadSuite):
    component = "linear"


class TestZeroShot(BuiltIn, HeadSuite):
    component = "zero-shot"


class TestGated(BuiltIn, HeadSuite):
    component = "gated"
    training = True


class TestCrossAttention(BuiltIn, HeadSuite):
    component = "cross-attention"
    config = {"width": 16, "heads": 2}
    training = True
