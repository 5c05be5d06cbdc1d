"""Checkpoints: all that a run needs to go on bit for bit, in files that are checked when they are read.

A checkpoint is a safetensors file: the tensors, and the nested state that they belong to as JSON among its metadata.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.runs import written

NAME = "checkpoint.safetensors"
KEYS = frozenset({"digest", "data", "progress", "history", "learnt", "average", "optimizer", "scaler", "random"})


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        FerkitError: If the disk is full or forbidden; the checkpoint before stays.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, tensors))
    with written(path) as temporary:
        save_file(tensors, temporary, {"state": text})


def load(path: Path, keys: Collection[str] = KEYS) -> dict[str, Any]:
    """Read a checkpoint, whose state has ``keys``.

    Raises:
        FerkitError: If it is damaged, or lacks something.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            state = _unpacked(json.loads(file.metadata()["state"]), tensors)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(state, dict) or state.keys() != set(keys):
        raise damaged(path, "it does not hold what a checkpoint does")
    return state


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON can hold it; its tensors go to ``tensors``, and their names stand in for them."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone()  # safetensors refuses tensors that share memory
        return {"tensor": name}
    if isinstance(value, Mapping):  # as pairs: an optimizer's keys are numbers
        return {"pairs": [[key, _packed(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(item, tensors) for item in value]}
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`_packed` was given."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "pairs":
        return {key: _unpacked(item, tensors) for key, item in inner}
    return {"list": list, "tuple": tuple}[kind](_unpacked(item, tensors) for item in inner)


def load_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a safetensors file that must hold tensors like those expected.

    Raises:
        FerkitError: If it is missing, damaged, or holds others.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error
    return alike(path, found, expected)


def alike(path: Path, found: Any, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors ``found`` in the file ``path``, if names, shapes and types are those expected.

    Raises:
        FerkitError: If they are not.
    """
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise damaged(path, "its tensors are not those that learn")
    for name, tensor in expected.items():
        other = found[name]
        if not isinstance(other, Tensor) or (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise damaged(path, f"its tensor {name} has another shape or type")
    return found


def damaged(path: Path, cause: Exception | str) -> FerkitError:
    """What to tell of a file that a run can't go on from."""
    text = " ".join(str(cause).split())[:200] or type(cause).__name__
    return FerkitError(f"{path} is damaged ({text}): put it back, or begin anew with --overwrite")
