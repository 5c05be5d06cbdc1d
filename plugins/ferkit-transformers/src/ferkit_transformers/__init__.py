"""Vision models of transformers as ferkit encoders."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from ferkit import Component, Config, LocalPath, hookimpl


class TransformersConfig(Config):
    """Options of the encoder ``transformers``."""

    model: Annotated[
        str | None, Field(pattern=r"^[\w.-]+/[\w.-]+$", description="repository on the hub, owner/name")
    ] = None
    revision: Annotated[
        str, Field(min_length=1, pattern=r"^[^@#]+$", description="branch, tag or commit of the repository")
    ] = "main"
    folder: Annotated[LocalPath | None, Field(description="folder of a saved model, instead of `model`")] = None
    sha256: Annotated[
        str | None,
        Field(pattern="^[0-9a-f]{64}$", description="digest of the model's files, told by `ferkit weights verify`"),
    ] = None
    text: Annotated[bool, Field(description="load the text tower too: the encoder reads")] = False
    classifier: Annotated[bool, Field(description="load it as an image classifier: the encoder has logits")] = False
    image_size: Annotated[int | None, Field(ge=16, le=2048, description="input side in pixels; unset: the model's")] = (
        None
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> "TransformersConfig":
        if (self.model is None) == (self.folder is None):
            raise ValueError("name a repository on the hub with `model`, or a `folder`, and not both")
        if self.text and self.classifier:
            raise ValueError("`text` and `classifier` exclude each other: use two encoders")
        return self


def reference(config: TransformersConfig) -> str:
    """The folder of the model as :class:`ferkit.WeightsStore` takes it."""
    place = f"{config.folder}/" if config.folder else f"hf://{config.model}@{config.revision}"
    return f"{place}#sha256={config.sha256}" if config.sha256 else place


def _weights(config: TransformersConfig) -> Iterable[str]:
    return [reference(config)]


def _provides(config: TransformersConfig) -> Iterable[str]:
    return ["tokens", *(["text"] if config.text else []), *(["logits"] if config.classifier else [])]


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``transformers``."""
    return [
        Component(
            kind="encoder",
            name="transformers",
            config=TransformersConfig,
            target="ferkit_transformers.encoder:TransformersEncoder",
            summary="vision models of transformers: pooled features, tokens, text, and logits of image classifiers",
            weights_licence="the model's own, see its card",
            provides=_provides,
            weights=_weights,
        )
    ]
