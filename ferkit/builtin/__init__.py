"""What ferkit brings without heavy dependencies, registered through the same hooks as any plugin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

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


class ZeroShot(Config):
    """Options of the head ``zero-shot``."""

    temperature: float | None = Field(
        default=None, gt=0, description="what cosines are divided by; null: 1 / logit_scale of each encoder"
    )
    weights: Annotated[Weights | None, Field(description="safetensors file of a factor on it that was learnt")] = None


class Gated(Learnt):
    """Options of the head ``gated``."""

    width: int = Field(default=256, ge=1, description="to which the pooled features of each encoder are projected")


class CrossAttention(Learnt):
    """Options of the head ``cross-attention``."""

    width: int = Field(default=256, ge=1, description="to which texts and tokens are projected; a multiple of heads")
    heads: int = Field(default=4, ge=1, description="of attention")
    blocks: int = Field(default=2, ge=1, description="of cross-attention and perceptron")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads, {self.heads}")
        return self


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
            "detector",
            "whole-image",
            Nothing,
            "ferkit.builtin.whole_image:WholeImage",
            "the picture is one face crop",
            looks=False,
        ),
        Component(
            "detector",
            "given",
            Nothing,
            "ferkit.builtin.given:Given",
            "the faces a data set is annotated with",
            looks=False,
        ),
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
            cheap=True,
        ),
        Component(
            "normalizer",
            "resample",
            Resample,
            "ferkit.builtin.normalizers:ResampleFace",
            "control: resamples a face without turning it",
            uses=frozenset({"landmarks:5"}),
            cheap=True,
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
        Component(
            "head",
            "zero-shot",
            ZeroShot,
            "ferkit.builtin.zero_shot:ZeroShot",
            "similarity of a face to the texts of the classes, by every encoder that has text",
            needs=frozenset({"text"}),
        ),
        Component(
            "head",
            "gated",
            Gated,
            "ferkit.builtin.gated:Gated",
            "mixture of experts: encoders and views, weighted by what is known of the pose",
            uses=frozenset({"pose"}),
        ),
        Component(
            "head",
            "cross-attention",
            CrossAttention,
            "ferkit.builtin.cross_attention:CrossAttention",
            "class texts attend to the tokens of all encoders and views: our reading of the paper's fusion",
            needs=frozenset({"text"}),
            uses=frozenset({"pose", "tokens"}),
        ),
        *datasets.COMPONENTS,
    ]


@hookimpl
def ferkit_recipes() -> Sequence[Path]:
    """The recipes of the core."""
    return [Path(__file__).parent.parent / "recipes"]
