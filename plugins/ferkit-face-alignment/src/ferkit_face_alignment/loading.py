"""Errors of the library that are about its files, and the devices it knows."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path

import torch

from ferkit import ComponentError, WeightsError

_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,  # of torch: no archive, or tensors of another network
    AssertionError,  # of BlazeFace: anchors of another number
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
)


@contextmanager
def reading(paths: Sequence[Path], network: str) -> Iterator[None]:
    """Tell what goes wrong inside as a WeightsError about these files."""
    try:
        yield
    except _DAMAGED as error:
        cause = " ".join(str(error).split())[:300]
        names = " and ".join(map(str, paths))
        raise WeightsError(f"{names}: no weights of {network}: {type(error).__name__}: {cause}") from error


def device_name(device: torch.device) -> str:
    """The device as the library spells it.

    Raises:
        ComponentError: If it does not know it.
    """
    if device.type not in ("cpu", "cuda", "mps"):
        raise ComponentError(f"face-alignment can't compute on {device}: choose cpu, cuda or mps")
    return str(device)


def version(references: Sequence[str]) -> str:
    """What decides results beside the configuration: the library, and the files' digests."""
    return " ".join([installed("face-alignment"), *(text.partition("#sha256=")[2] for text in references)])
