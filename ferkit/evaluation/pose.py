"""The pose that puts a face into a bin: of the original picture, never of what a normalizer made of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ferkit.interfaces import Sample
from ferkit.recipe import Recipe
from ferkit.types import Faces

DATA, ESTIMATED, NONE = "data", "estimated", ""


def pose_of(samples: Sequence[Sample], faces: Faces) -> tuple[Tensor, list[str]]:
    """Pose of each face, and where it is from.

    What the data set knows is the truth of the bin. Where it knows nothing, it is what the recipe's estimator told of the
    original picture.

    Args:
        samples: N annotated faces.
        faces: The same, as found, with the recipe's pose.

    Returns:
        Yaw, pitch and roll in degrees, float32 ``[N, 3]``, NaN where unknown; and ``data``, ``estimated`` or ``""`` for each.
    """
    pose, origin = faces.pose.clone(), []
    for index, sample in enumerate(samples):
        if sample.pose is not None:
            pose[index] = torch.tensor(sample.pose)
        known = bool(torch.isfinite(pose[index, 0]))
        origin.append(NONE if not known else DATA if sample.pose is not None else ESTIMATED)
    return pose, origin


def estimator_of(recipe: Recipe) -> str | None:
    """What tells the pose in a recipe: its pose estimator, else a detector that does; with distribution and version."""
    part = recipe.pose or (recipe.detector if "pose" in recipe.detector.provides else None)
    return f"{part.registered.qualified} {part.registered.version}" if part else None
