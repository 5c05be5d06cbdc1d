"""ferkit: facial expression recognition in extreme poses, from components swapped by a recipe.

Names are imported on first use, so that ``import ferkit`` and every listing stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "pipeline": "ferkit.pipelines",
    "Pipeline": "ferkit.pipelines",
    "train": "ferkit.training.train",
    "evaluate": "ferkit.evaluation.evaluate",
    "Evaluation": "ferkit.evaluation.evaluation",
    "evaluate_normalizer": "ferkit.evaluation.evaluate_normalizer",
    "NormalizerEvaluation": "ferkit.evaluation.normalizer_evaluation",
    "compare": "ferkit.evaluation.compare",
    "Comparison": "ferkit.evaluation.comparison",
    "Recipe": "ferkit.recipe",
    "load_recipe": "ferkit.recipe",
    "Registry": "ferkit.registry",
    "hookimpl": "ferkit.hookspecs",
    "Component": "ferkit.components",
    "Config": "ferkit.components",
    "Weights": "ferkit.components",
    "LocalPath": "ferkit.components",
    "OPERATIONAL": "ferkit.components",
    "Context": "ferkit.interfaces",
    "WeightsStore": "ferkit.weights",
    "Detector": "ferkit.interfaces",
    "PoseEstimator": "ferkit.interfaces",
    "Normalizer": "ferkit.interfaces",
    "Sampler": "ferkit.interfaces",
    "CropEditor": "ferkit.interfaces",
    "Keyed": "ferkit.interfaces",
    "Versioned": "ferkit.interfaces",
    "Encoder": "ferkit.interfaces",
    "TextEncoder": "ferkit.interfaces",
    "Trainable": "ferkit.interfaces",
    "Head": "ferkit.interfaces",
    "Dataset": "ferkit.interfaces",
    "Documented": "ferkit.interfaces",
    "Remark": "ferkit.interfaces",
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
    from ferkit.components import OPERATIONAL as OPERATIONAL
    from ferkit.components import Component as Component
    from ferkit.components import Config as Config
    from ferkit.components import LocalPath as LocalPath
    from ferkit.components import Weights as Weights
    from ferkit.errors import (
        ComponentError as ComponentError,
    )
    from ferkit.errors import (
        FerkitError as FerkitError,
    )
    from ferkit.errors import (
        ImageError as ImageError,
    )
    from ferkit.errors import (
        NoFaceError as NoFaceError,
    )
    from ferkit.errors import (
        RecipeError as RecipeError,
    )
    from ferkit.errors import (
        StageError as StageError,
    )
    from ferkit.errors import (
        WeightsError as WeightsError,
    )
    from ferkit.evaluation.compare import compare as compare
    from ferkit.evaluation.comparison import Comparison as Comparison
    from ferkit.evaluation.evaluate import evaluate as evaluate
    from ferkit.evaluation.evaluate_normalizer import evaluate_normalizer as evaluate_normalizer
    from ferkit.evaluation.evaluation import Evaluation as Evaluation
    from ferkit.evaluation.normalizer_evaluation import NormalizerEvaluation as NormalizerEvaluation
    from ferkit.hookspecs import hookimpl as hookimpl
    from ferkit.interfaces import (
        Context as Context,
    )
    from ferkit.interfaces import (
        CropEditor as CropEditor,
    )
    from ferkit.interfaces import (
        Dataset as Dataset,
    )
    from ferkit.interfaces import (
        Detector as Detector,
    )
    from ferkit.interfaces import (
        Documented as Documented,
    )
    from ferkit.interfaces import (
        Encoder as Encoder,
    )
    from ferkit.interfaces import (
        Head as Head,
    )
    from ferkit.interfaces import (
        Keyed as Keyed,
    )
    from ferkit.interfaces import (
        Normalizer as Normalizer,
    )
    from ferkit.interfaces import (
        PoseEstimator as PoseEstimator,
    )
    from ferkit.interfaces import (
        Remark as Remark,
    )
    from ferkit.interfaces import (
        Sample as Sample,
    )
    from ferkit.interfaces import (
        Sampler as Sampler,
    )
    from ferkit.interfaces import (
        TextEncoder as TextEncoder,
    )
    from ferkit.interfaces import (
        Trainable as Trainable,
    )
    from ferkit.interfaces import (
        Versioned as Versioned,
    )
    from ferkit.pipelines import Pipeline as Pipeline
    from ferkit.pipelines import pipeline as pipeline
    from ferkit.recipe import Recipe as Recipe
    from ferkit.recipe import load_recipe as load_recipe
    from ferkit.registry import Registry as Registry
    from ferkit.training.train import train as train
    from ferkit.types import (
        EncoderFeatures as EncoderFeatures,
    )
    from ferkit.types import (
        EncoderOutput as EncoderOutput,
    )
    from ferkit.types import (
        Faces as Faces,
    )
    from ferkit.types import (
        FaceViews as FaceViews,
    )
    from ferkit.types import (
        Features as Features,
    )
    from ferkit.types import (
        FeatureSpec as FeatureSpec,
    )
    from ferkit.types import (
        Frontal as Frontal,
    )
    from ferkit.types import (
        ImageBatch as ImageBatch,
    )
    from ferkit.types import (
        ImageInfo as ImageInfo,
    )
    from ferkit.types import (
        Pose as Pose,
    )
    from ferkit.types import (
        Prediction as Prediction,
    )
    from ferkit.types import (
        Predictions as Predictions,
    )
    from ferkit.weights import WeightsStore as WeightsStore


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ferkit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
