"""From pictures to views: the detector, pose estimator, alignment and normalizer of a recipe, built once."""

from collections.abc import Callable, Sequence
from typing import Any

from ferkit.interfaces import Context
from ferkit.recipe import Part, Recipe
from ferkit.stages import build, check_detected, check_posed, check_turned, guarded
from ferkit.types import Faces, FaceViews, ImageBatch
from ferkit.views import ViewBuilder


class Preparation:
    """The part of a pipeline that looks at pictures, and the only one that needs them.

    Args:
        recipe: Names the components.
        context: Where they are built.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        def component(part: Part | None, returns: type, check: Callable[..., None]) -> Callable[..., Any] | None:
            return guarded(part, build(part, context), returns, check) if part else None

        detector = guarded(recipe.detector, build(recipe.detector, context), Faces, check_detected)
        self._detector = detector
        self._pose = component(recipe.pose, Faces, check_posed)
        turn = component(recipe.normalizer, Sequence, check_turned)
        self._views = ViewBuilder(recipe.framework.align, turn, recipe.normalization, detector)

    def faces(self, batch: ImageBatch) -> Faces:
        """The faces that the detector finds, with pose, in order."""
        return self.with_pose(batch, self._detector(batch).in_order())

    def with_pose(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with their pose, where the recipe estimates it."""
        posed: Faces = self._pose(batch, faces) if self._pose else faces
        return posed

    def views(self, batch: ImageBatch, faces: Faces) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        """Aligned and frontal views of faces, and per face the flags that tell how it came by them."""
        return self._views(batch, faces)
