"""Checkpoints: all that a run needs to go on bit for bit, in files that are checked when they are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.runs import written

NAME = "checkpoint.pt"
KEYS = frozenset({"digest", "data", "progress", "history", "learnt", "average", "optimizer", "scaler", "random"})


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        FerkitError: If the disk is full or forbidden; the checkpoint before stays.
    """
    with written(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are accepted.

    Raises:
        FerkitError: If it is damaged, or lacks something.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make an unpickler raise whatever they like
        raise damaged(path, error) from error
    if not isinstance(state, dict) or state.keys() != KEYS:
        raise damaged(path, "it does not hold what a checkpoint does")
    return state


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
