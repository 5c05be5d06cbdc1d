"""Encoder ``open-clip``."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit import ComponentError, Context, EncoderOutput, WeightsError
from ferkit_open_clip import OpenClipConfig
from ferkit_open_clip.sources import find
from ferkit_open_clip.texts import tokenizer, with_local_text_config
from ferkit_open_clip.towers import build, encode_image, stages, token_dim


class OpenClipEncoder:
    """A vision-language model with its own input size, mean and std.

    Its module has the tower ``visual`` and, with ``config.text``, the tower ``text``; only then has it ``logit_scale``.

    Args:
        config: Names model and weights.
        context: Where it is built. Missing weights are an error also while training.

    Raises:
        ComponentError: If open_clip has no such model or tag.
        WeightsError: If the weights are missing, altered, or of another model.
    """

    logit_scale: float

    def __init__(self, config: OpenClipConfig, context: Context) -> None:
        source = find(config)
        tensors, _ = context.weights.load(source.weights, pinned=config.weights is not None)
        if config.text:
            if "logit_scale" not in tensors:
                raise WeightsError(
                    f"{source.weights} has no logit_scale: it is no vision-language model of open_clip's"
                )
            self.logit_scale = float(tensors["logit_scale"].float().exp())
            self._tokenize = tokenizer(source, context)
            text_cfg = with_local_text_config(source, context)
            source = replace(source, architecture={**source.architecture, "text_cfg": text_cfg})
        towers = build(source, text=config.text, image_size=config.image_size, tensors=tensors)
        self.visual: nn.Module = towers["visual"]
        self.text: nn.Module | None = towers["text"] if config.text else None
        self.dim: int = source.architecture["embed_dim"]
        self.token_dim: int | None = token_dim(self.visual)
        self.size = _square(self.visual.image_size)
        kind = source.preprocessing["interpolation"]
        self.interpolation = "bilinear" if kind == "bilinear" else "bicubic"  # open_clip reads it so
        statistics = (torch.tensor(source.preprocessing[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
        self.mean, self.std = (values.to(context.device) for values in statistics)
        self._bf16 = config.bf16
        self.device, self.dtype = context.device, torch.bfloat16 if config.bf16 else context.dtype
        self.module: nn.Module = towers.to(self.device, self.dtype).eval()
        if not context.training:
            self.module.requires_grad_(False)

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, D]`` in the space of the texts, and patch tokens ``[M, T, E]`` before the projection."""
        if len(pixels) == 0:  # reshapes inside transformers can't tell what zero elements stand for
            width = self.token_dim or 0
            return EncoderOutput(
                torch.zeros(0, self.dim, device=self.device), torch.zeros(0, 0, width, device=self.device)
            )
        x = pixels.to(self.device)
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode=self.interpolation, antialias=True).clamp(0, 1)
        pooled, tokens = encode_image(self.visual, ((x - self.mean) / self.std).to(self.dtype))
        return EncoderOutput(pooled.float(), tokens.float())

    def encode_text(self, texts: list[str]) -> Tensor:
        """Text features ``[P, D]``, not normalized.

        Raises:
            ComponentError: If the encoder was built without its text tower.
        """
        if self.text is None:
            raise ComponentError("the encoder was built without its text tower: set its option `text: true`")
        found = self.text(self._tokenize(texts).to(self.device))
        features: Tensor = found[0] if isinstance(found, tuple) else found  # CoCa's gives tokens, too
        return features.float()

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups of the image tower, from input to output.

        Raises:
            ComponentError: With ``config.bf16``: steps of learning are lost in so few digits.
        """
        if self._bf16:
            raise ComponentError(
                "open-clip does not learn with its option `bf16`, whose weights round small steps away: leave it out, and "
                "set training.precision to bf16 to compute so with float32 weights; or learn only the head"
            )
        return stages(self.visual)

    def text_stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups of the text tower, from input to output; none where there is no such tower."""
        return stages(self.text) if self.text is not None else []


def _square(size: Any) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ComponentError(f"the model takes pictures of {height} x {width} pixels; faces are square: choose another")
    return height
