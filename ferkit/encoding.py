"""From views to features: every encoder over every view, in chunks, and the class texts of those that read."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.interfaces import Encoder, TextEncoder
from ferkit.recipe_model import Prompts
from ferkit.types import EncoderFeatures, EncoderOutput, FaceViews, Features, FeatureSpec

CHUNKS = (64, 32, 16, 8, 4, 2, 1)
"""How many views an encoder gets at once. At most 64, so that a picture with hundreds of faces does not decide the memory;
and of few different sizes, because libraries keep code and buffers for every size they have seen."""


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


def spec(encoder: Encoder, provides: frozenset[str]) -> FeatureSpec:
    """What a head may expect of ``encoder``."""
    return FeatureSpec(encoder.dim, encoder.token_dim, logits="logits" in provides, text="text" in provides)


def encode(
    views: FaceViews, encoders: Mapping[str, Encoder], texts: Mapping[str, tuple[Tensor, float]], device: torch.device
) -> Features:
    """Features of ``views`` by every encoder; ``texts`` holds class texts and their scale by encoder."""
    features = {}
    for name, encoder in encoders.items():
        chunks = torch.split(views.pixels, chunk_sizes(len(views)))
        output = EncoderOutput.concat([encoder(chunk.to(device)) for chunk in chunks])
        text, scale = texts.get(name, (None, None))
        features[name] = EncoderFeatures(output.pooled, output.tokens, output.logits, text, scale)
    return Features(features, views.face_index.to(device), views.view, views.failed.to(device))
