"""Any open_clip model as a ferkit encoder of images and texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ferkit import Component, Config, LocalPath, Weights, hookimpl


class OpenClipConfig(Config):
    """Options of the encoder ``open-clip``."""

    model: Annotated[str | None, Field(min_length=1, description="name of an open_clip model")] = None
    local_dir: Annotated[
        LocalPath | None, Field(description="folder with open_clip_config.json and safetensors; in place of `model`")
    ] = None
    pretrained: Annotated[str | None, Field(description="open_clip's tag of the weights")] = None
    weights: Annotated[
        Weights | None, Field(description="safetensors file; unset: that of the tag, or the one in the folder")
    ] = None
    text: Annotated[bool, Field(description="keep the text tower: the encoder provides class texts")] = False
    image_size: Annotated[int | None, Field(ge=16, le=2048, description="input side in pixels; unset: the model's")] = (
        None
    )
    bf16: Annotated[
        bool, Field(description="compute in bfloat16 whatever the pipeline's dtype; it can't learn then")
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _open_clips_spelling(cls, options: Any) -> Any:
        """``model: local-dir:FOLDER`` means ``local_dir: FOLDER``."""
        name = options.get("model") if isinstance(options, dict) else None
        if not isinstance(name, str):
            return options
        if name.startswith("hf-hub:"):
            raise ValueError(
                f"{name} is not fetched by name: download the repository and give its folder as `local_dir`"
            )
        if not name.startswith("local-dir:"):
            return options
        folder = name.removeprefix("local-dir:")
        if not Path(folder).is_absolute():
            raise ValueError(f"write local_dir: {folder}, which is looked up beside the recipe, not model: {name}")
        if options.get("local_dir"):
            raise ValueError("`model` names a folder, and so does `local_dir`: leave one out")
        return {**options, "model": None, "local_dir": folder}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.model) == bool(self.local_dir):
            raise ValueError("give either `model`, a name of open_clip's, or `local_dir`, a folder with a model")
        if self.local_dir and self.pretrained:
            raise ValueError("`pretrained` is a tag of a `model`; a `local_dir` has its own weights: leave it out")
        if self.model and not (self.pretrained or self.weights):
            raise ValueError("name the weights of the model: `pretrained`, a tag of open_clip's, or `weights`, a file")
        return self


def _weights(config: OpenClipConfig) -> Iterable[str]:
    if config.weights:
        return [config.weights]
    from ferkit_open_clip.sources import find

    return [find(config).weights]


def _provides(config: OpenClipConfig) -> Iterable[str]:
    return ["tokens", "text"] if config.text else ["tokens"]


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``open-clip``."""
    return [
        Component(
            kind="encoder",
            name="open-clip",
            config=OpenClipConfig,
            target="ferkit_open_clip.encoder:OpenClipEncoder",
            summary="any open_clip model: pooled features, patch tokens, and class texts",
            weights_licence="the model's own, see its card",
            provides=_provides,
            weights=_weights,
        )
    ]
