"""Any timm model as a ferkit encoder."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from ferkit import Component, ComponentError, Config, Weights, hookimpl


class TimmConfig(Config):
    """Options of the encoder ``timm``."""

    model: Annotated[str, Field(min_length=1, description="name of a timm model, with or without its weights' tag")]
    weights: Annotated[Weights | None, Field(description="safetensors file; unset: what timm names for the model")] = (
        None
    )
    labels: Annotated[tuple[str, ...] | None, Field(description="the classifier's columns: the encoder has logits")] = (
        None
    )
    layers: Annotated[
        tuple[int, ...] | None,
        Field(
            min_length=1, description="blocks or stages whose tokens are given, -1 the last; unset: the model's output"
        ),
    ] = None
    image_size: Annotated[int | None, Field(ge=16, le=2048, description="input side in pixels; unset: the model's")] = (
        None
    )


def hub_reference(config: TimmConfig) -> str:
    """Where timm keeps the weights of a model; a name without a tag means timm's default one, which only timm knows."""
    name = config.model
    if "." not in name:
        import timm

        settings = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        if settings is None or not settings.tag:
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"; near it: {', '.join(close)}" if close else ""
            raise ComponentError(f"timm {timm.__version__} knows no weights of a model {name!r}{hint}")
        name = f"{name}.{settings.tag}"
    return f"hf://timm/{name}/model.safetensors@main"


def _weights(config: TimmConfig) -> Iterable[str]:
    return [config.weights or hub_reference(config)]


def _provides(config: TimmConfig) -> Iterable[str]:
    return ["tokens", "logits"] if config.labels else ["tokens"]


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``timm``."""
    return [
        Component(
            kind="encoder",
            name="timm",
            config=TimmConfig,
            target="ferkit_timm.encoder:TimmEncoder",
            summary="any timm model: pooled features, tokens, and logits where it is a classifier",
            weights_licence="the model's own, see its card",
            provides=_provides,
            weights=_weights,
        )
    ]
