"""Encoder ``hog``: histograms of oriented gradients (Dalal & Triggs, CVPR 2005)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit import Context, EncoderOutput
from ferkit_example_hog import HogConfig

CLIP = 0.2  # of L2-Hys: no single gradient may outweigh a block


class Hog:
    """Unsigned gradients of the strongest colour, in blocks of 2 x 2 cells that overlap, normalized by L2-Hys.

    A gradient votes for the two orientations next to its own; unlike the paper's, it votes for its own cell only. Tokens are
    the blocks, pooled features all of them side by side. It computes in float32 whatever the context's dtype.
    """

    def __init__(self, config: HogConfig, context: Context) -> None:
        self.config, self.device = config, context.device
        self.token_dim: int | None = 4 * config.bins
        self.dim = self.token_dim * (config.cells - 1) ** 2

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, D]`` and tokens ``[M, T, E]`` of views ``[M, 3, S, S]``: T blocks of width E, and D = T * E."""
        side = self.config.cells * self.config.cell_size
        views = pixels.to(self.device)
        if views.shape[-1] != side:
            views = F.interpolate(views, size=(side, side), mode="bilinear", antialias=True)
        cells = F.avg_pool2d(votes(*gradients(views), self.config.bins), self.config.cell_size)
        blocks = F.unfold(cells, kernel_size=2).transpose(1, 2)
        tokens = F.normalize(F.normalize(blocks, dim=-1).clamp(max=CLIP), dim=-1)
        return EncoderOutput(tokens.flatten(1), tokens)


def gradients(views: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude ``[M, S, S]`` and orientation (0 up to pi) of the strongest colour's gradient, by [-1, 0, 1]."""
    padded = F.pad(views, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    magnitude, colour = torch.hypot(across, down).max(1, keepdim=True)
    angle = torch.atan2(down.gather(1, colour), across.gather(1, colour)).remainder(math.pi)
    return magnitude.squeeze(1), angle.squeeze(1)


def votes(magnitude: Tensor, angle: Tensor, bins: int) -> Tensor:
    """Each pixel's magnitude, shared by the two bins next to its orientation, ``[M, bins, S, S]``."""
    place = angle / math.pi * bins - 0.5
    lower = place.floor()
    share = (place - lower).unsqueeze(1)
    first = lower.long().remainder(bins).unsqueeze(1)
    empty = magnitude.new_zeros(len(magnitude), bins, *magnitude.shape[1:])
    strength = magnitude.unsqueeze(1)
    return empty.scatter_add(1, first, strength * (1 - share)).scatter_add(1, (first + 1) % bins, strength * share)
