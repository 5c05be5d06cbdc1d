"""From views to logits: the encoders, their class texts and the head of a recipe, built once."""

from dataclasses import replace

import torch
from torch import Tensor

from ferkit.encoding import StagedEncoder, encode
from ferkit.errors import StageError, WeightsError
from ferkit.interfaces import Context, Encoder, TextEncoder, Trainable
from ferkit.recipe import Recipe
from ferkit.stages import build, guarded, stage
from ferkit.types import Faces, FaceViews, Features

LOGIT_SCALE = "ferkit.logit_scale"
"""Among learnt tensors, the encoder's ``logit_scale``; a module of its own may have that name for the logarithm."""


class Recognizer:
    """The part of a pipeline that learns. Whether gradients are recorded is the caller's choice.

    Args:
        recipe: Names encoders, prompts and head.
        context: Where they are built; with ``training`` they may start from random weights.

    Attributes:
        encoders: By their names in the recipe.
        head: As it was built.
        overlaid: By encoder, the names of the tensors that its recipe's ``learnt`` put in place.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self._labels, self._prompts = recipe.labels, recipe.framework.prompts
        self._device, self._training = context.device, context.training
        self.overlaid: dict[str, tuple[str, ...]] = {}
        self.encoders: dict[str, StagedEncoder] = {}
        for name, part in recipe.encoders.items():
            encoder: Encoder = build(part, context)
            if part.learnt:
                with stage(part):
                    self.overlaid[name] = _overlay(encoder, part.learnt, context)
            self.encoders[name] = StagedEncoder(part, encoder, len(recipe.labels))
        self._require_logits(recipe)
        self._texts: dict[str, tuple[Tensor, float]] = {}
        self.refresh_texts()
        inputs = {name: encoder.spec for name, encoder in self.encoders.items()}
        self.head = build(recipe.head, replace(context, inputs=inputs))
        self._score = guarded(recipe.head, self.head, Tensor, self._check_logits)

    def _require_logits(self, recipe: Recipe) -> None:
        """Check that classifiers know every label where the head needs their logits."""
        for name, encoder in self.encoders.items():
            if encoder.missing_labels and "logits" in recipe.head.registered.component.needs:
                raise StageError(
                    f"the head {recipe.head.name} needs logits of every label, and encoders.{name} has no column for "
                    f"{', '.join(encoder.missing_labels)}: change the recipe's labels, or use a model trained for them, or a "
                    "head that reads features"
                )

    def refresh_texts(self) -> None:
        """Encode the class texts again, as after a text tower has changed."""
        with torch.no_grad():
            self._texts = {name: found for name in self.encoders if (found := self.texts(name))}

    def texts(self, encoder: str) -> tuple[Tensor, float] | None:
        """Class texts ``[C, D]`` of an encoder and their scale, where it reads."""
        return self.encoders[encoder].texts(self._prompts, self._labels)

    def class_texts(self, encoder: str, again: bool = False) -> tuple[Tensor | None, float | None]:
        """Class texts and scale of an encoder, None where it does not read; ``again`` where its text tower learns."""
        found = self.texts(encoder) if again else self._texts.get(encoder)
        return found or (None, None)

    def features(self, views: FaceViews) -> Features:
        """What the encoders make of views."""
        return encode(views, self.encoders, self._texts, self._device)

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


def _overlay(encoder: Encoder, reference: str, context: Context) -> tuple[str, ...]:
    """Put learnt tensors in place of an encoder's own; their names."""
    if not isinstance(encoder, Trainable):
        raise StageError("it can't learn, so `learnt` means nothing to it: remove that key")
    tensors, _ = context.weights.load(reference)
    own = encoder.module.state_dict()
    scale = tensors.get(LOGIT_SCALE) if isinstance(encoder, TextEncoder) else None
    unknown = sorted(tensors.keys() - own.keys() - ({LOGIT_SCALE} if scale is not None else set()))
    wrong = sorted(name for name in tensors.keys() & own.keys() if tensors[name].shape != own[name].shape)
    if unknown or wrong:
        named = ", ".join([*unknown, *wrong][:4])
        raise WeightsError(
            f"{reference} was learnt by another encoder: {named} {'is unknown' if unknown else 'differs'}"
        )
    encoder.module.load_state_dict(tensors, strict=False)
    if isinstance(encoder, TextEncoder) and scale is not None:
        encoder.logit_scale = float(scale)
    return tuple(tensors)
