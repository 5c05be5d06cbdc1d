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

    What the data set knows is the truth of the bin, angle by angle. What it doesn't know is as the recipe's estimator told of
    the original picture.

    Args:
        samples: N annotated faces.
        faces: The same, as found, with the recipe's pose.

    Returns:
        Yaw, pitch and roll in degrees, float32 ``[N, 3]``, NaN where unknown; and where the yaw is from: ``data``,
        ``estimated`` or ``""``.
    """
    pose, origin = faces.pose.clone(), []
    for index, sample in enumerate(samples):
        own = torch.tensor(sample.pose or (torch.nan,) * 3)
        pose[index] = torch.where(own.isfinite(), own, pose[index])
        told, known = bool(own[0].isfinite()), bool(pose[index, 0].isfinite())
        origin.append(DATA if told else ESTIMATED if known else NONE)
    return pose, origin


def estimator_of(recipe: Recipe) -> str | None:
    """What tells the pose in a recipe: its pose estimator, else a detector that does; with distribution and version."""
    part = recipe.pose or (recipe.detector if "pose" in recipe.detector.provides else None)
    return f"{part.registered.qualified} {part.registered.version}" if part else None
