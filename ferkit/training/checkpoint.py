"""Checkpoints: all that a run needs to go on bit for bit, in one file."""

import pickle
from pathlib import Path
from typing import Any

import torch

from ferkit.errors import FerkitError
from ferkit.runs import written

NAME = "checkpoint.pt"


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
        FerkitError: If it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise FerkitError(f"{path} is no readable checkpoint ({text}): start again with --overwrite") from error
    return state
