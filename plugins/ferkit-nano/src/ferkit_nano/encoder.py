"""Encoder ``nano``: an expression classifier with its pooled and spatial features."""

import json

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit import Context, EncoderOutput, WeightsError
from ferkit.labels import column_order
from ferkit_nano import NanoConfig
from ferkit_nano.network import FEATURES, Nano, fuse

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in the grey pictures it was trained on


class NanoEncoder:
    """EfficientNet-Lite0 trained on grey faces; it answers in the recipe's labels, by name.

    Args:
        config: Names its weights.
        context: Its labels must be among those the weights were trained for.

    Raises:
        WeightsError: If the weights are missing, altered, or of another network.
    """

    dim = FEATURES
    token_dim: int | None = FEATURES

    def __init__(self, config: NanoConfig, context: Context) -> None:
        tensors, metadata = context.weights.load(config.weights)
        if "labels" not in metadata or "size" not in metadata:
            raise WeightsError(
                f"{config.weights}: its metadata must name `labels` and `size`, as training/train.py writes them"
            )
        trained_for = json.loads(metadata["labels"])
        self.size = int(metadata["size"])
        self.columns = column_order(trained_for, context.labels, "the encoder nano")
        network = Nano(len(trained_for))
        try:
            # fp16 on disk; batch norms' step counters are not kept
            found = network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
        except RuntimeError as error:
            raise WeightsError(f"{config.weights} holds another network: {error}") from error
        missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        if missing or found.unexpected_keys:
            raise WeightsError(
                f"{config.weights} holds another network: {[*missing, *found.unexpected_keys][:3]} and others"
            )
        if not context.training:
            network.eval().requires_grad_(False)
            fuse(network)
        self.dtype, self.device = context.dtype, context.device
        self.module: nn.Module = network.to(context.device, context.dtype, memory_format=torch.channels_last)
        self.stages = network.stages

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, 1280]``, tokens ``[M, 9, 1280]`` and logits ``[M, C]`` of views ``[M, 3, S, S]``."""
        maps = self.module.features(self._prepare(pixels))
        pooled = maps.mean((2, 3))
        logits = self.module.classifier(pooled)[:, self.columns]
        return EncoderOutput(pooled.float(), maps.flatten(2).transpose(1, 2).float(), logits.float())

    def _prepare(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.device)
        if pixels.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
        grey = (x * x.new_tensor(LUMA).reshape(3, 1, 1)).sum(1, keepdim=True)
        normal = grey.mul(2).sub(1).expand(-1, 3, -1, -1)
        return normal.to(self.dtype).contiguous(memory_format=torch.channels_last)
