"""ferkit's embedded expression model, and the recipe ``default`` that uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ferkit import Component, Config, Weights, hookimpl

WEIGHTS = (
    "pkg://ferkit_nano/weights/nano.safetensors#sha256=c050516e4389ccd656692e7d9bff488f4a524b0997b9b445f523b46915bf4dad"
)


class NanoConfig(Config):
    """Options of the encoder ``nano``."""

    weights: Annotated[
        Weights,
        Field(description="safetensors with the tensors of timm's mobilenetv1_100, labels and size as metadata"),
    ] = WEIGHTS
    mirror: bool = Field(
        default=True, description="logits are the mean over a face and its mirror image: twice the work"
    )
    crops: tuple[Annotated[float, Field(ge=0.5, le=1)], ...] = Field(
        default=(1.0, 0.85),
        min_length=1,
        description="shares of the view's side, each cut from its middle and seen enlarged: logits are the mean over them, "
        "features those of the first, which alone is learnt from. Each costs as much again, whatever is read",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of pooled features dropped while it learns")


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``nano``."""
    return [
        Component(
            kind="encoder",
            name="nano",
            config=NanoConfig,
            target="ferkit_nano.encoder:NanoEncoder",
            summary="embedded expression classifier, seven emotions, MobileNetV1 at 96 px",
            weights_licence="research use: trained on FER2013 (Kaggle competition data)",
            commercial=False,
            provides=frozenset({"logits", "tokens"}),
        )
    ]


@hookimpl
def ferkit_recipes() -> Sequence[Path]:
    """The recipe ``default``."""
    return [Path(__file__).parent / "recipes"]
