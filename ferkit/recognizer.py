"""From views to logits: the encoders, their class texts and the head of a recipe, built once."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ferkit.encoding import StagedEncoder, encode
from ferkit.errors import StageError, WeightsError
from ferkit.interfaces import Context, Encoder, Trainable
from ferkit.recipe import Part, Recipe
from ferkit.stages import build, guarded, stage
from ferkit.types import Faces, FaceViews, Features


class Recognizer:
    """The part of a pipeline that learns. Whether gradients are recorded is the caller's choice.

    Args:
        recipe: Names encoders, prompts and head.
        context: Where they are built; with ``training`` they may start from random weights.

    Attributes:
        encoders: By their names in the recipe.
        head: As it was built.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self._labels, self._prompts = recipe.labels, recipe.framework.prompts
        self._device, self._training = context.device, context.training
        self.encoders = {
            name: StagedEncoder(part, _encoder(part, context), len(recipe.labels))
            for name, part in recipe.encoders.items()
        }
        self._texts: Mapping[str, tuple[Tensor, float]] = {}
        self.refresh_texts()
        inputs = {name: encoder.spec for name, encoder in self.encoders.items()}
        self.head = build(recipe.head, replace(context, inputs=inputs))
        self._score = guarded(recipe.head, self.head, Tensor, self._check_logits)

    def refresh_texts(self) -> None:
        """Encode the class texts again, as after a text tower has changed."""
        with torch.no_grad():
            self._texts = {name: found for name in self.encoders if (found := self.texts(name))}

    def texts(self, encoder: str) -> tuple[Tensor, float] | None:
        """Class texts ``[C, D]`` of an encoder and their scale, where it reads."""
        return self.encoders[encoder].texts(self._prompts, self._labels)

    def features(self, views: FaceViews, texts: Mapping[str, tuple[Tensor, float]] | None = None) -> Features:
        """What the encoders make of views; ``texts`` stand in for class texts encoded before."""
        return encode(views, self.encoders, {**self._texts, **(texts or {})}, self._device)

    def logits(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``, held to their shape."""
        found: Tensor = self._score(features, faces)
        return found

    def _check_logits(self, logits: Tensor, _features: Features, faces: Faces) -> None:
        shape = [len(faces), len(self._labels)]
        if list(logits.shape) != shape:
            raise StageError(f"logits have shape {list(logits.shape)}, not {shape}")
        if not self._training and not bool(torch.isfinite(logits).all()):
            raise StageError("logits are not finite")


def _encoder(part: Part, context: Context) -> Encoder:
    """An encoder with what it learnt."""
    encoder: Encoder = build(part, context)
    if part.learnt:
        with stage(part):
            if not isinstance(encoder, Trainable):
                raise StageError("it can't learn, so `learnt` means nothing to it: remove that key")
            _overlay(encoder, part.learnt, context)
    return encoder


def _overlay(encoder: Trainable, reference: str, context: Context) -> None:
    """Put learnt tensors in place of an encoder's own."""
    tensors, _ = context.weights.load(reference)
    own = encoder.module.state_dict()
    unknown = sorted(tensors.keys() - own.keys())
    wrong = sorted(name for name in tensors.keys() & own.keys() if tensors[name].shape != own[name].shape)
    if unknown or wrong:
        named = ", ".join([*unknown, *wrong][:4])
        raise WeightsError(
            f"{reference} was learnt by another encoder: {named} {'is unknown' if unknown else 'differs'}"
        )
    encoder.module.load_state_dict(tensors, strict=False)
