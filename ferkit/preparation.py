"""From pictures to views: the detector, pose estimator, alignment and normalizer of a recipe, built once."""

import torch
from torch import Tensor

import ferkit
from ferkit.acceptance import Acceptance
from ferkit.cache import Cache, digest
from ferkit.components import operational_fields
from ferkit.crop_pose import BORDER, SIDE, with_crop_pose
from ferkit.encoding import StagedEncoder
from ferkit.interfaces import Context, Versioned
from ferkit.recipe import Part, Recipe
from ferkit.stages import build, check_detected, check_posed, guarded
from ferkit.turning import Turner
from ferkit.types import Faces, FaceViews, ImageBatch
from ferkit.views import Outcome, ViewBuilder

PREPARED = ("detector", "pose", "normalizer")
"""The keys of a recipe whose components are built here."""


class Preparation:
    """The part of a pipeline that looks at pictures, and the only one that needs them.

    Args:
        recipe: Names the components.
        context: Where they are built.
        cache: Where what the normalizer gives is kept.

    Attributes:
        turns: Whether there is a normalizer.
        normalizer_version: What a :class:`ferkit.interfaces.Versioned` normalizer tells, or None.
    """

    def __init__(self, recipe: Recipe, context: Context, cache: Cache) -> None:
        self._detector = guarded(recipe.detector, build(recipe.detector, context), Faces, check_detected)
        self._pose = guarded(recipe.pose, build(recipe.pose, context), Faces, check_posed) if recipe.pose else None
        self._tells_pose = recipe.pose is not None or "pose" in recipe.detector.provides
        turner, part = None, recipe.normalizer
        lent = recipe.pose.provides if recipe.pose else frozenset()
        self._needs_landmarks = part is not None and bool(part.registered.component.needs & lent - {"pose"})
        self.turns = part is not None
        self.normalizer_version: str | None = None
        if part:
            normalizer = build(part, context)
            turner = Turner(part, normalizer, context, recipe.normalization, cache)
            self.normalizer_version = normalizer.version if isinstance(normalizer, Versioned) else None
        align = recipe.framework.align
        self._views = ViewBuilder(align, recipe.normalization, turner, self._acceptance(recipe, context))

    def _acceptance(self, recipe: Recipe, context: Context) -> Acceptance:
        accept, pose = recipe.normalization.accept, recipe.pose
        judges = {
            name: StagedEncoder(part, build(part, context), len(recipe.labels)) for name, part in recipe.judges.items()
        }
        told = pose.registered.component if pose else None  # whether five landmarks are enough for it
        enough = told is not None and told.needs <= {"landmarks:5"} and "landmarks:5" in told.needs | told.uses
        return Acceptance(
            recipe.framework.align,
            accept,
            self._detector,
            self._pose,
            judges,
            context.device,
            searches=accept.judges_pose and not enough,
        )

    def faces(self, batch: ImageBatch) -> Faces:
        """The faces that the detector finds, with pose, in order."""
        return self.with_pose(batch, self._detector(batch).in_order())

    def with_pose(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with their pose, where the recipe estimates it."""
        posed: Faces = self._pose(batch, faces) if self._pose else faces
        return posed

    def crops(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` that fill their pictures with their pose: as they have it; as estimated; or by finding them with a border."""
        known = torch.isfinite(faces.pose[:, 0])
        if not self._needs_landmarks and (not self._tells_pose or bool(known.all())):
            return faces
        posed = self.with_pose(batch, faces)
        pose = torch.where(known[:, None], faces.pose, posed.pose.to(faces.pose))
        score = torch.where(known, faces.pose_score, posed.pose_score.to(faces.pose_score))
        return with_crop_pose(batch, posed.with_pose(pose, score), self._detector, self._pose)

    def views(self, batch: ImageBatch, faces: Faces) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        """Aligned and frontal views of faces, and per face the flags that tell how it came by them."""
        return self._views(batch, faces)

    def outcomes(self, batch: ImageBatch, faces: Faces) -> tuple[Tensor, list[Outcome]]:
        """The aligned view of each face, float32 ``[N, 3, S, S]``, and what the normalizer made of it."""
        return self._views.outcomes(batch, faces)


def prepared_parts(recipe: Recipe) -> dict[str, Part]:
    """The components that decide views, by their paths in the recipe."""
    return {path: part for path, part in recipe.parts().items() if path.split(".")[0] in PREPARED}


def view_digest(recipe: Recipe, context: Context) -> str:
    """Of everything but the pictures that decides views. It asks for the weights to be there, and builds nothing."""
    framework = recipe.framework
    return digest(
        {
            "ferkit": ferkit.__version__,
            "components": [
                [
                    path,
                    part.registered.qualified,
                    part.registered.version,
                    part.config.model_dump(mode="json", exclude=set(operational_fields(type(part.config)))),
                    [context.weights.digest(reference) for reference in part.weights],
                ]
                for path, part in prepared_parts(recipe).items()
            ],
            "crop_pose": [BORDER, SIDE],
            "align": framework.align.model_dump(mode="json"),
            "normalization": recipe.normalization.model_dump(mode="json", exclude={"cache"})
            if recipe.normalizer
            else None,
            "seed": framework.seed,
        }
    )
