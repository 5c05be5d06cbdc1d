"""Faces turned frontal and nothing else: what ``ferkit normalize`` and ``Pipeline.normalize`` give."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import Any

import torch
from torch import Tensor

from ferkit.decisions import counted, told
from ferkit.errors import FerkitError
from ferkit.inputs import Color, Input, readable, streamed
from ferkit.preparation import Preparation
from ferkit.recipe import Recipe
from ferkit.types import ImageInfo, Pose
from ferkit.views import Outcome

NO_NORMALIZER = (
    "the recipe {name} has no normalizer, so there is nothing to turn faces with: name one (--set normalizer.use=NAME, in "
    "Python {{'normalizer.use': NAME}}); `ferkit plugins` lists them"
)


@dataclass(frozen=True, eq=False)
class NormalizedFace:
    """One face.

    Attributes:
        face: Its number in the picture, from 0, largest box first.
        box: x0 y0 x1 y1 in pixels of the picture.
        detection_score: 0..1, NaN where the detector gives none.
        pose: Of the face in the picture, degrees; NaN where unknown.
        pose_score: How sure the pose estimator is, 0..1, NaN where it tells nothing.
        aligned: The face as it is, float32 ``[3, S, S]``, RGB 0..1.
        outcome: What the normalizer made of it.
    """

    face: int
    box: tuple[float, float, float, float]
    detection_score: float
    pose: Pose
    pose_score: float
    aligned: Tensor
    outcome: Outcome

    def __repr__(self) -> str:
        yaw = "" if isnan(self.pose.yaw) else f", yaw {self.pose.yaw:+.0f}°"
        return f"NormalizedFace({self.face}, {self.decision}{yaw})"

    @property
    def view(self) -> Tensor:
        """Its one view, float32 ``[3, S, S]``: frontal if that was accepted, else aligned."""
        return self.aligned if self.outcome.view is None else self.outcome.view

    @property
    def decision(self) -> str:
        """``turned``, ``not_turned``, ``failed`` or ``rejected:…`` with the reason."""
        return self.outcome.decision

    @property
    def flags(self) -> tuple[str, ...]:
        """Those of :data:`ferkit.types.FLAGS` that concern the turning."""
        unknown = ("no_pose",) if any(map(isnan, self.pose)) else ()
        return (*unknown, *self.outcome.flags)


@dataclass(frozen=True, eq=False)
class Normalized:
    """One input: ``info`` says what became of it, ``faces`` are those that were found."""

    info: ImageInfo
    faces: tuple[NormalizedFace, ...]

    def __repr__(self) -> str:
        made = told(counted(face.decision for face in self.faces)) if self.faces else "no face"
        return f"Normalized({self.info.source}: {self.info.error or made})"


def normalize(
    recipe: Recipe, preparation: Preparation, inputs: Iterable[Any], *, batch_size: int = 16, color: Color = "rgb"
) -> Iterator[Normalized]:
    """One result an input, in order, lazily; no more than ``batch_size`` pictures are held.

    Pictures without a face have none here, whatever the recipe's ``on_no_face``.

    Raises:
        FerkitError: If the recipe has no normalizer.
    """
    require_normalizer(recipe)
    return streamed(inputs, batch_size, color, partial(_together, preparation))


def require_normalizer(recipe: Recipe) -> None:
    """Raise a FerkitError that says how to name one, where a recipe has no normalizer."""
    if recipe.normalizer is None:
        raise FerkitError(NO_NORMALIZER.format(name=recipe.name))


@torch.inference_mode()
def _together(preparation: Preparation, inputs: Sequence[Input]) -> list[Normalized]:
    batch = readable(inputs)
    faces = preparation.faces(batch)
    aligned, outcomes = preparation.outcomes(batch, faces)
    found: list[list[NormalizedFace]] = [[] for _ in batch.images]
    for index, outcome in enumerate(outcomes):
        x0, y0, x1, y1 = faces.boxes[index].tolist()
        own = found[int(faces.image_index[index])]
        own.append(
            NormalizedFace(
                len(own),
                (x0, y0, x1, y1),
                float(faces.scores[index]),
                Pose(*faces.pose[index].tolist()),
                float(faces.pose_score[index]),
                aligned[index],
                outcome,
            )
        )
    each = iter(found)
    results = []
    for item in inputs:
        own = [] if item.image is None else next(each)
        results.append(Normalized(replace(item.info, n_faces=len(own)), tuple(own)))
    return results
