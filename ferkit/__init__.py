"""ferkit: facial expression recognition in extreme poses, from components swapped by a recipe.

Names are imported on first use, so that ``import ferkit`` and every listing stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "pipeline": "ferkit.pipelines",
    "Pipeline": "ferkit.pipelines",
    "Recipe": "ferkit.recipe",
    "load_recipe": "ferkit.recipe",
    "Registry": "ferkit.registry",
    "hookimpl": "ferkit.hookspecs",
    "Component": "ferkit.components",
    "Config": "ferkit.components",
    "Weights": "ferkit.components",
    "LocalPath": "ferkit.components",
    "Context": "ferkit.interfaces",
    "Detector": "ferkit.interfaces",
    "PoseEstimator": "ferkit.interfaces",
    "Normalizer": "ferkit.interfaces",
    "Encoder": "ferkit.interfaces",
    "TextEncoder": "ferkit.interfaces",
    "Trainable": "ferkit.interfaces",
    "Head": "ferkit.interfaces",
    "Dataset": "ferkit.interfaces",
    "Sample": "ferkit.interfaces",
    "ImageBatch": "ferkit.types",
    "Faces": "ferkit.types",
    "Frontal": "ferkit.types",
    "FaceViews": "ferkit.types",
    "EncoderOutput": "ferkit.types",
    "EncoderFeatures": "ferkit.types",
    "Features": "ferkit.types",
    "FeatureSpec": "ferkit.types",
    "Pose": "ferkit.types",
    "Prediction": "ferkit.types",
    "Predictions": "ferkit.types",
    "ImageInfo": "ferkit.types",
    "FerkitError": "ferkit.errors",
    "ImageError": "ferkit.errors",
    "NoFaceError": "ferkit.errors",
    "RecipeError": "ferkit.errors",
    "ComponentError": "ferkit.errors",
    "StageError": "ferkit.errors",
    "WeightsError": "ferkit.errors",
}

__all__ = sorted(["__version__", *_HOMES])

if TYPE_CHECKING:
    from ferkit.components import Component, Config, LocalPath, Weights
    from ferkit.errors import (
        ComponentError,
        FerkitError,
        ImageError,
        NoFaceError,
        RecipeError,
        StageError,
        WeightsError,
    )
    from ferkit.hookspecs import hookimpl
    from ferkit.interfaces import (
        Context,
        Dataset,
        Detector,
        Encoder,
        Head,
        Normalizer,
        PoseEstimator,
        Sample,
        TextEncoder,
        Trainable,
    )
    from ferkit.pipelines import Pipeline, pipeline
    from ferkit.recipe import Recipe, load_recipe
    from ferkit.registry import Registry
    from ferkit.types import (
        EncoderFeatures,
        EncoderOutput,
        Faces,
        FaceViews,
        Features,
        FeatureSpec,
        Frontal,
        ImageBatch,
        ImageInfo,
        Pose,
        Prediction,
        Predictions,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ferkit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
