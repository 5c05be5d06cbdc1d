"""Random changes of views, drawn anew from run seed, draw and sample, so that nothing else changes them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from ferkit.training.options import Augment

_WORD = 0x9E3779B97F4A7C15  # odd, so that neighbouring numbers are far apart


def seed_of(seed: int, draw: int, sample: int) -> int:
    """One seed from three numbers."""
    value = 0
    for number in (seed, draw, sample):
        value = ((value ^ number) * _WORD + 1) % 2**63
    return value


class Augmentation:
    """Changes the views of one face at a time.

    Args:
        options: What is changed, and how far.
    """

    def __init__(self, options: Augment) -> None:
        self.options = options
        o = options
        steps: list[v2.Transform] = []
        if o.brightness or o.contrast or o.saturation or o.hue:
            steps.append(v2.ColorJitter(o.brightness, o.contrast, o.saturation, o.hue))
        if o.grey:
            steps.append(v2.RandomGrayscale(o.grey))
        self._colour = v2.Compose([*steps, v2.Identity()])
        self._moves = bool(o.rotate or o.scale or o.shift)
        self._erase = v2.RandomErasing(o.erase, scale=(0.02, 0.2))

    def __call__(self, pixels: Tensor, seed: int) -> tuple[Tensor, bool]:
        """The views ``[V, 3, S, S]`` of a face changed alike, and whether they were mirrored.

        Args:
            pixels: Float, 0..1.
            seed: Decides everything.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would note a traceback for GPUs
            flipped = bool(torch.rand(()) < self.options.flip)
            if flipped:
                pixels = pixels.flip(-1)
            if self._moves:
                pixels = self._moved(pixels)
            pixels = self._erase(self._softened(self._colour(pixels)))
        return pixels, flipped

    def _moved(self, pixels: Tensor) -> Tensor:
        """Turned, scaled and shifted; what comes in at the edges repeats them."""
        o = self.options
        angle, size, x, y = (torch.rand(4) * 2 - 1).tolist()
        radians, scale = math.radians(angle * o.rotate), 1 + size * o.scale
        cos, sin = math.cos(radians) / scale, math.sin(radians) / scale
        matrix = torch.tensor([[cos, -sin, 2 * x * o.shift], [sin, cos, 2 * y * o.shift]])
        grid = F.affine_grid(matrix.expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
        return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)

    def _softened(self, pixels: Tensor) -> Tensor:
        """With a chance each, blurred or stripped of resolution."""
        chance, low, amount = torch.rand(3).tolist()
        side = pixels.shape[-1]
        if chance < self.options.blur:
            sigma = max(0.3, 0.02 * amount * side)
            pixels = v2.functional.gaussian_blur(pixels, 2 * round(2 * sigma) + 1, [sigma])
        if low < self.options.low_resolution:
            small = max(8, round(side * (1 - amount * 2 / 3)))
            down = v2.functional.resize(pixels, [small, small], antialias=True)
            pixels = v2.functional.resize(down, [side, side], antialias=True)
        return pixels
