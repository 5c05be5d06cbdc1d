"""What an image processor does, on tensors: differentiable, and on the device."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor

from ferkit import ComponentError, WeightsError
from ferkit_transformers.loading import FAULTS, SAFE, line, quietly

MODES = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""PIL's resampling filters in torch; Lanczos (1) is approximated by bicubic, as in transformers on a GPU."""
TOLERANCE = 0.1
"""How far, in units of normalized pixels, a gradient may differ from the processor's own result."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, normalization.

    Attributes:
        resize: Height and width in pixels that views are resized to.
        crop: Height and width of the central part that is kept.
        mode: Of torch's ``interpolate``.
        mean: ``[1, 3, 1, 1]``, for pixels of 0..1.
        std: Likewise.
    """

    resize: tuple[int, int]
    crop: tuple[int, int]
    mode: str
    mean: Tensor
    std: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Views ``[M, 3, S, S]``, RGB 0..1, as the model's input ``[M, 3, H, W]``, float32."""
        if pixels.shape[-2:] != self.resize:
            antialias = {"antialias": True} if self.mode in ("bilinear", "bicubic") else {}
            pixels = F.interpolate(pixels, size=self.resize, mode=self.mode, **antialias).clamp(0, 1)
        (height, width), (crop_height, crop_width) = self.resize, self.crop
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        pixels = pixels[..., top : top + crop_height, left : left + crop_width]
        return (pixels - self.mean) / self.std

    def to(self, device: torch.device) -> "Preprocessing":
        """The same on ``device``."""
        return replace(self, mean=self.mean.to(device), std=self.std.to(device))


def load_preprocessing(folder: Path, image_size: int | None = None) -> Preprocessing:
    """Preprocessing as the image processor saved in ``folder`` does it; at ``image_size`` in place of its size and crop.

    Raises:
        WeightsError: If there is no image processor.
        ComponentError: If it does more than resize, crop, rescale and normalize.
    """
    try:
        with quietly():
            processor = AutoImageProcessor.from_pretrained(folder, **SAFE)
    except FAULTS as error:
        raise WeightsError(
            f"{folder} has no image processor that can be read (preprocessor_config.json): {line(error)}"
        ) from error
    preprocessing = _understood(processor)
    if preprocessing is None or not _agree(preprocessing, processor):
        raise ComponentError(
            f"the {type(processor).__name__} of {folder} does more than resize to a fixed size, crop, rescale and "
            "normalize: such a model can't be used as an encoder"
        )
    if image_size is None:
        return preprocessing
    side = (image_size, image_size)
    return replace(preprocessing, resize=side, crop=side)


def _understood(processor: Any) -> Preprocessing | None:
    """What the processor says of itself; None where that names no fixed size."""
    resize = _sides(getattr(processor, "size", None)) if getattr(processor, "do_resize", True) else None
    if resize is None:
        return None
    crop = _sides(processor.crop_size) if getattr(processor, "do_center_crop", None) else resize
    unit = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0], [1.0])
    shape = (1, -1, 1, 1)
    return Preprocessing(
        resize,
        crop or resize,
        MODES.get(int(processor.resample if processor.resample is not None else 2), "bicubic"),
        torch.tensor(mean).reshape(shape) / unit,
        torch.tensor(std).reshape(shape) / unit,
    )


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width that a square picture gets."""
    if size is None:
        return None
    edge = size.get("shortest_edge")
    height, width = size.get("height") or edge, size.get("width") or edge
    return (height, width) if height and width else None


def _agree(preprocessing: Preprocessing, processor: Any) -> bool:
    """Whether both do the same to a picture that every sane filter resizes alike."""
    ramp = torch.linspace(0, 255, 96)
    picture = torch.stack([ramp.expand(96, 96), ramp.expand(96, 96).T, 255 - ramp.expand(96, 96)]).to(torch.uint8)
    try:
        theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    except FAULTS:
        return False
    ours = preprocessing(picture[None] / 255)
    return theirs.shape == ours.shape and bool((theirs - ours).abs().max() <= TOLERANCE)
