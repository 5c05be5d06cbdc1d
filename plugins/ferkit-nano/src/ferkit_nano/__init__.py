"""ferkit's embedded expression model, and the recipe ``default`` that uses it."""

from collections.abc import Sequence
from pathlib import Path

from ferkit import Component, Config, Weights, hookimpl

WEIGHTS = (
    "pkg://ferkit_nano/weights/nano.safetensors#sha256=fb5049878e2fd3c2ca83103ba8fdd87475ab509661483381b5e283c3dd11618d"
)


class NanoConfig(Config):
    """``weights``: a safetensors file with the tensors of timm's ``tf_efficientnet_lite0`` and its labels as metadata."""

    weights: Weights = WEIGHTS


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``nano``."""
    return [
        Component(
            kind="encoder",
            name="nano",
            config=NanoConfig,
            target="ferkit_nano.encoder:NanoEncoder",
            summary="embedded expression classifier, seven emotions, EfficientNet-Lite0 at 80 px",
            weights_licence="research use: trained on FER2013 (Kaggle competition data)",
            commercial=False,
            provides=frozenset({"logits", "tokens"}),
        )
    ]


@hookimpl
def ferkit_recipes() -> Sequence[Path]:
    """The recipe ``default``."""
    return [Path(__file__).parent / "recipes"]
