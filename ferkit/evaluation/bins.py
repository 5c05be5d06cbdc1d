"""Bins of the head's pose, in degrees."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from ferkit.evaluation.resampling import Floats

YAW = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)
PITCH = (-90.0, -45.0, -30.0, -15.0, 15.0, 30.0, 45.0, 90.0)
SHIFT = 5.0
NO_POSE, BEYOND = "no pose", "beyond 90"
Bins = dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]
"""Name of each bin, in order, to which faces are in it; every face is in one."""


def by_yaw(yaw: Floats, shift: float = 0.0) -> Bins:
    """By |yaw|: 0-15, 15-30, 30-45, 45-60, 60-90; ``shift`` moves the inner edges."""
    edges = (YAW[0], *(edge + shift for edge in YAW[1:-1]), YAW[-1])
    return _bins(np.abs(yaw), edges, lambda low, high: f"{low:g}-{high:g}")


def by_signed_yaw(yaw: Floats) -> Bins:
    """The same, faces turned towards the image's left (yaw < 0) and right apart; 0 counts as right."""
    sides = [
        (f"{name} {bin_name}", there & side)
        for name, side in (("left", yaw < 0), ("right", yaw >= 0))
        for bin_name, there in by_yaw(yaw).items()
        if bin_name != NO_POSE
    ]
    return {**dict(sides), NO_POSE: np.isnan(yaw)}


def by_pitch(pitch: Floats) -> Bins:
    """By pitch, > 0 upwards: -15 to 15 in the middle."""
    return _bins(pitch, PITCH, lambda low, high: f"{low:g} to {high:g}")


def _bins(values: Floats, edges: Sequence[float], name: Callable[[float, float], str]) -> Bins:
    """Bins from each edge up to the next, the last with its upper edge; then what lies beyond, and what is unknown."""
    found = {}
    for low, high in pairwise(edges):
        found[name(low, high)] = (values >= low) & ((values < high) | ((high == edges[-1]) & (values == high)))
    return {**found, BEYOND: (values > edges[-1]) | (values < edges[0]), NO_POSE: np.isnan(values)}
