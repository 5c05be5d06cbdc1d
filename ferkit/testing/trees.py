"""Nested values (dataclasses, mappings, sequences, tensors) leaf by leaf: to compare them, and to look at every tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of ``value`` with its dotted path."""
    if is_dataclass(value) and not isinstance(value, type):
        parts: dict[Any, Any] = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    else:
        yield path, value
        return
    for key, item in parts.items():
        yield from leaves(item, f"{path}.{key}" if path else str(key))


def tensors(value: Any) -> dict[str, Tensor]:
    """The leaves of ``value`` that are tensors, by path."""
    return {path: leaf for path, leaf in leaves(value) if isinstance(leaf, Tensor)}


def difference(found: Any, expected: Any, tolerance: float = 0.0) -> str:
    """Where two values differ by more than ``tolerance`` (absolute and relative), or ``""``; NaN equals NaN."""
    ours, theirs = dict(leaves(found)), dict(leaves(expected))
    if ours.keys() != theirs.keys():
        return f"one has {sorted(ours.keys() - theirs.keys())}, the other {sorted(theirs.keys() - ours.keys())}"
    for path, leaf in ours.items():
        other = theirs[path]
        if isinstance(leaf, Tensor) and isinstance(other, Tensor):
            if text := _tensor_difference(leaf, other, tolerance):
                return f"{path}: {text}"
        elif leaf != other and not (leaf != leaf and other != other):  # noqa: PLR0124, two NaN are equal
            return f"{path}: {leaf!r} and {other!r}"
    return ""


def _tensor_difference(found: Tensor, expected: Tensor, tolerance: float) -> str:
    try:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    except AssertionError as error:
        return " ".join(str(error).split())
    return ""


def moved(value: Any, device: torch.device) -> Any:
    """``value`` with every tensor on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{field.name: moved(getattr(value, field.name), device) for field in fields(value)})
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    return value
