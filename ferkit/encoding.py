"""From views to features: every encoder over every view, in chunks, and the class texts of those that read."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.errors import StageError
from ferkit.interfaces import Encoder, TextEncoder
from ferkit.recipe import Part
from ferkit.recipe_model import Prompts
from ferkit.stages import stage
from ferkit.types import EncoderFeatures, EncoderOutput, FaceViews, Features, FeatureSpec

CHUNKS = (64, 32, 16, 8, 4, 2, 1)
"""How many views an encoder gets at once. At most 64, so that a picture with hundreds of faces does not decide the memory;
and of few different sizes, because libraries keep code and buffers for every size they have seen."""


class StagedEncoder:
    """An encoder of a recipe, whose output is held to what its component promises.

    Attributes:
        encoder: The encoder itself.
        spec: What heads may expect of it.
        missing_labels: The recipe's labels that a classifier was not trained for; then it has no logits.
    """

    def __init__(self, part: Part, encoder: Encoder, classes: int) -> None:
        self._part, self.encoder, self._classes = part, encoder, classes
        words = part.provides
        self.missing_labels: tuple[str, ...] = getattr(encoder, "missing_labels", ())
        logits = "logits" in words and not self.missing_labels
        self.spec = FeatureSpec(encoder.dim, encoder.token_dim, logits=logits, text="text" in words)

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """The output for views ``[M, 3, S, S]`` of any number.

        Raises:
            StageError: If the encoder fails or returns something else than it promises.
        """
        with stage(self._part):
            chunks = torch.split(pixels, chunk_sizes(len(pixels)))
            return EncoderOutput.concat([self._checked(self.encoder(chunk), len(chunk)) for chunk in chunks])

    def whole(self, pixels: Tensor) -> EncoderOutput:
        """The output for views ``[M, 3, S, S]`` in one go: while it learns, batch norms look at all of them."""
        with stage(self._part):
            return self._checked(self.encoder(pixels), len(pixels))

    def texts(self, prompts: Prompts, labels: tuple[str, ...]) -> tuple[Tensor, float] | None:
        """Class texts ``[C, D]`` and their scale, where the encoder reads."""
        if not self.spec.text:
            return None
        with stage(self._part):
            if not isinstance(self.encoder, TextEncoder):
                raise StageError("it provides text, but has no encode_text and logit_scale")
            return class_texts(self.encoder, prompts, labels), self.encoder.logit_scale

    def _checked(self, output: EncoderOutput, count: int) -> EncoderOutput:
        if not isinstance(output, EncoderOutput):
            raise StageError(f"returned {type(output).__name__}, not EncoderOutput; is a `return` missing?")
        if list(output.pooled.shape) != [count, self.spec.dim]:
            raise StageError(f"pooled has shape {list(output.pooled.shape)}, not {[count, self.spec.dim]}")
        if self.spec.logits and (output.logits is None or output.logits.shape[1] != self._classes):
            found = "none" if output.logits is None else f"logits of {output.logits.shape[1]} classes"
            raise StageError(f"it provides logits of the recipe's {self._classes} labels, and returned {found}")
        return output


def class_texts(encoder: TextEncoder, prompts: Prompts, labels: tuple[str, ...]) -> Tensor:
    """Unit-length text features ``[C, D]``: per label the mean of its normalized prompts (Radford et al. 2021, 3.1.4)."""
    rows = []
    for label in labels:
        each = F.normalize(encoder.encode_text(prompts.texts(label)).float(), dim=-1)
        rows.append(F.normalize(each.mean(0), dim=-1))
    return torch.stack(rows)


def chunk_sizes(count: int) -> list[int]:
    """Sizes from :data:`CHUNKS`, largest first, that add up to ``count``; zero views are one chunk of none."""
    sizes = []
    for size in CHUNKS:
        sizes += [size] * (count // size)
        count %= size
    return sizes or [0]


def encode(
    views: FaceViews,
    encoders: Mapping[str, StagedEncoder],
    texts: Mapping[str, tuple[Tensor, float]],
    device: torch.device,
) -> Features:
    """Features of ``views`` by every encoder; ``texts`` holds class texts and their scale by encoder."""
    features = {}
    pixels = views.pixels.to(device)
    for name, encoder in encoders.items():
        output = encoder(pixels)
        text, scale = texts.get(name, (None, None))
        features[name] = EncoderFeatures(output.pooled, output.tokens, output.logits, text, scale)
    return Features(features, views.face_index.to(device), views.view, views.failed.to(device))
