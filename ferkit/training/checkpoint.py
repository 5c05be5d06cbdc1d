"""Checkpoints: all that a run needs to go on bit for bit, in one file."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ferkit.errors import FerkitError

NAME = "checkpoint.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        FerkitError: If the disk is full or forbidden; the checkpoint before stays.
    """
    partial = path.with_suffix(".part")
    try:
        torch.save(state, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise FerkitError(
            f"the checkpoint {path} can't be written ({error}): make room and run the same command again; "
            "it goes on from the checkpoint before"
        ) from error


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
