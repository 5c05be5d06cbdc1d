"""True frontal views: which sample shows the same person with the same expression from the front."""

from collections.abc import Iterable

from ferkit.interfaces import Sample

FRONTAL = 5.0
"""Most |yaw| of a frontal view, in degrees."""


def true_frontals(samples: Iterable[Sample]) -> dict[str, Sample]:
    """By the id of every sample that has one, the frontal view of the same subject, group and label.

    A sample is frontal if the data set itself says so: |yaw| of its ``pose`` is at most :data:`FRONTAL`. Of several the one with
    the least is taken, of equals the first. A frontal view has no other, and without subject or group there are no pairs.
    """
    kin: dict[tuple[str, str, str | None], list[Sample]] = {}
    for sample in samples:
        if sample.subject is not None and sample.group is not None:
            kin.setdefault((sample.subject, sample.group, sample.label), []).append(sample)
    found = {}
    for views in kin.values():
        frontal = [view for view in views if _yaw(view) <= FRONTAL]
        if frontal:
            best = min(frontal, key=_yaw)
            found.update({view.id: best for view in views if not _yaw(view) <= FRONTAL})
    return found


def _yaw(sample: Sample) -> float:
    """What the data set says of |yaw|; NaN is in no comparison."""
    return float("nan") if sample.pose is None else abs(sample.pose[0])
