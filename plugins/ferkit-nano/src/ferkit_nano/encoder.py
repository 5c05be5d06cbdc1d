"""Encoder ``nano``: an expression classifier with its pooled and spatial features."""

import json
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit import Context, EncoderOutput, WeightsError
from ferkit.labels import column_order, missing_labels
from ferkit_nano import NanoConfig
from ferkit_nano.network import FEATURES, MEAN, STD, Nano, fuse

_FUSING = threading.Lock()  # of the module: an encoder is copied to other processes
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in the grey pictures it was trained on


class NanoEncoder:
    """MobileNetV1 trained on grey faces; it answers in the recipe's labels, by name.

    Args:
        config: Names its weights.
        context: Where its labels are not all among those the weights were trained for, there are no logits.

    Raises:
        WeightsError: If the weights are missing, altered, or of another network.
    """

    dim = FEATURES
    token_dim: int | None = FEATURES

    def __init__(self, config: NanoConfig, context: Context) -> None:
        tensors, metadata = context.weights.load(config.weights)
        if "labels" not in metadata or "size" not in metadata:
            raise WeightsError(
                f"{config.weights}: its metadata must name `labels` and `size`, as training/ writes them"
            )
        trained_for = json.loads(metadata["labels"])
        self.size = int(metadata["size"])
        self.missing_labels = missing_labels(trained_for, context.labels)
        self.columns = None if self.missing_labels else column_order(trained_for, context.labels, "the encoder nano")
        self._network = Nano(len(trained_for), config.dropout)
        _load(self._network, tensors, config.weights)
        self._plain = context.training
        self._mirror = config.mirror
        self._first, *self._further = config.crops
        if not context.training:
            self._network.eval().requires_grad_(False)
        self.dtype, self.device = context.dtype, context.device
        self.module: nn.Module = self._network.to(context.device, context.dtype).to(memory_format=torch.channels_last)
        self.stages = self._network.stages

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, 1024]``, tokens ``[M, T, 1024]`` and logits ``[M, C]`` of views ``[M, 3, S, S]``."""
        if not self._plain:
            with _FUSING:
                if not self._plain:
                    fuse(self._network)  # not before: what was learnt is put in place after construction
                    self._plain = True
        grey = self._grey(pixels)
        first = self._crop(grey, self._first)
        maps = self._network.features(first)
        pooled = maps.mean((2, 3))
        tokens = maps.flatten(2).transpose(1, 2).float()
        if self.columns is None:
            return EncoderOutput(pooled.float(), tokens)
        answers = [self._classified(pooled)]
        if not self.module.training:
            answers += [self._looked_at(other) for other in self._others(grey, first)]
        return EncoderOutput(pooled.float(), tokens, torch.stack(answers).mean(0))

    def _others(self, grey: Tensor, first: Tensor) -> Iterator[Tensor]:
        """What else the logits are averaged over: further crops, and the mirror image of each."""
        if self._mirror:
            yield first.flip(-1)
        for share in self._further:
            crop = self._crop(grey, share)
            yield crop
            if self._mirror:
                yield crop.flip(-1)

    def _looked_at(self, grey: Tensor) -> Tensor:
        return self._classified(self._network.features(grey).mean((2, 3)))

    def _classified(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self._network.classifier(self._network.drop(pooled))
        return logits[:, self.columns].float()

    def _grey(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.device)
        return (x * x.new_tensor(LUMA).reshape(3, 1, 1)).sum(1, keepdim=True)

    def _crop(self, grey: Tensor, share: float) -> Tensor:
        """The middle of views, as large as the network takes them; cut at whole pixels."""
        side = grey.shape[-1]
        cut = round(side * (1 - share) / 2)
        crop = grey[..., cut : side - cut, cut : side - cut]
        if crop.shape[-1] != self.size:
            crop = F.interpolate(crop, size=(self.size, self.size), mode="bilinear", antialias=True)
        return ((crop - MEAN) / STD).to(self.dtype).contiguous(memory_format=torch.channels_last)


def _load(network: Nano, tensors: dict[str, Tensor], source: str) -> None:
    """Load weights, kept as fp16 and without batch norms' step counters."""
    try:
        found = network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{source} holds another network: {error}") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        named = ", ".join([*missing, *found.unexpected_keys][:3])
        raise WeightsError(f"{source} holds another network: {named} and others")
