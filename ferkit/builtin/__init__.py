"""What ferkit brings without heavy dependencies, registered through the same hooks as any plugin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ferkit import datasets
from ferkit.components import Component, Config, Weights
from ferkit.hookspecs import hookimpl


class Nothing(Config):
    """No options."""


class Learnt(Config):
    """A head that was trained."""

    weights: Annotated[Weights | None, Field(description="its safetensors file, with `labels` as metadata")] = None
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of features dropped while it learns")


class Mlp(Learnt):
    """A head with hidden layers."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(256,), min_length=1, description="their widths")


class Resample(Config):
    """Options of the normalizer ``resample``."""

    size: int = Field(default=112, ge=16, le=2048, description="side in pixels to which a face is resampled and back")
    margin: float = Field(default=0.5, ge=0, le=3, description="around the face, in units of its side")


class Mirror(Config):
    """Options of the normalizer ``mirror``."""

    margin: float = Field(default=0.5, ge=0, le=3, description="around the face, in units of its side")


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """Detectors, the pose estimator, control normalizers, heads and data sets."""
    return [
        Component(
            "detector", "whole-image", Nothing, "ferkit.builtin.whole_image:WholeImage", "the picture is one face crop"
        ),
        Component("detector", "given", Nothing, "ferkit.builtin.given:Given", "the faces a data set is annotated with"),
        Component(
            "pose",
            "landmark-pnp",
            Nothing,
            "ferkit.builtin.landmark_pnp:LandmarkPnP",
            "head pose from 5 or 68 landmarks against a generic 3D head",
            uses=frozenset({"landmarks:5", "landmarks:68"}),
            provides=frozenset({"pose"}),
        ),
        Component(
            "normalizer",
            "mirror",
            Mirror,
            "ferkit.builtin.normalizers:MirrorFace",
            "control: mirrors a face, its pose but for the sign stays",
            uses=frozenset({"landmarks:5"}),
        ),
        Component(
            "normalizer",
            "resample",
            Resample,
            "ferkit.builtin.normalizers:ResampleFace",
            "control: resamples a face without turning it",
            uses=frozenset({"landmarks:5"}),
        ),
        Component(
            "head",
            "average-probabilities",
            Nothing,
            "ferkit.builtin.average_probabilities:AverageProbabilities",
            "mean of the encoders' own class probabilities over encoders and views",
            needs=frozenset({"logits"}),
        ),
        Component("head", "linear", Learnt, "ferkit.builtin.linear:Linear", "linear classifier on pooled features"),
        Component("head", "mlp", Mlp, "ferkit.builtin.mlp:MLP", "multi-layer perceptron on pooled features"),
        *datasets.COMPONENTS,
    ]


@hookimpl
def ferkit_recipes() -> Sequence[Path]:
    """The recipes of the core."""
    return [Path(__file__).parent.parent / "recipes"]
