"""Bins of the head's pose, in degrees."""

from collections.abc import Callable, Sequence

import numpy as np

from ferkit.evaluation.resampling import Floats

YAW = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)
PITCH = (-90.0, -45.0, -30.0, -15.0, 15.0, 30.0, 45.0, 90.0)
SHIFT = 5.0
NO_POSE, BEYOND = "no pose", "beyond 90"
Bins = dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]
"""Name of each bin, in order, to which faces are in it; every face is in one."""


def by_yaw(yaw: Floats, shift: float = 0.0) -> Bins:
    """By |yaw|: 0–15, 15–30, 30–45, 45–60, 60–90; ``shift`` moves the inner edges."""
    edges = (YAW[0], *(edge + shift for edge in YAW[1:-1]), YAW[-1])
    return _bins(np.abs(yaw), edges, lambda low, high: f"{low:g}–{high:g}")


def by_signed_yaw(yaw: Floats) -> Bins:
    """The same, faces turned towards the image's left (−) and right (+) apart; 0 counts as right."""
    sides = {}
    for sign, side in (("−", yaw < 0), ("+", yaw >= 0)):
        each = _bins(np.where(side, np.abs(yaw), -1.0), YAW, lambda low, high, sign=sign: f"{sign}({low:g}–{high:g})")
        each[f"{sign}({BEYOND})"] = each.pop(BEYOND) & side
        each.pop(NO_POSE)
        sides[sign] = list(each.items())
    return {**dict(reversed(sides["−"])), **dict(sides["+"]), NO_POSE: np.isnan(yaw)}


def by_pitch(pitch: Floats) -> Bins:
    """By pitch, > 0 upwards: −15–15 in the middle."""
    return _bins(pitch, PITCH, lambda low, high: f"{low:g} to {high:g}".replace("-", "−"))


def _bins(values: Floats, edges: Sequence[float], name: Callable[[float, float], str]) -> Bins:
    """Bins from each edge up to the next, the last with its upper edge; then what lies beyond, and what is unknown."""
    found = {}
    for low, high in zip(edges, edges[1:], strict=False):
        found[name(low, high)] = (values >= low) & ((values < high) | ((high == edges[-1]) & (values == high)))
    return {**found, BEYOND: (values > edges[-1]) | (values < edges[0]), NO_POSE: np.isnan(values)}
