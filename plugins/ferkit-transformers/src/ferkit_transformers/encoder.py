"""Encoder ``transformers``."""

import inspect
import threading
from typing import Any

import torch
from torch import Tensor, nn

from ferkit import ComponentError, Context, EncoderOutput
from ferkit.labels import column_order, missing_labels
from ferkit_transformers import TransformersConfig, reference
from ferkit_transformers.loading import FAULTS, line, load_model, load_tokenizer
from ferkit_transformers.preprocessing import load_preprocessing
from ferkit_transformers.stages import parameter_stages

_seen = threading.local()
"""What the hooks of a classifier keep of this thread's latest call: ``hidden`` and ``pooled``."""


class TransformersEncoder:
    """A vision model of transformers with its own preprocessing.

    Args:
        config: Names the model and what to load of it.
        context: With ``config.classifier``, there are no logits where its labels are not all among the model's.

    Attributes:
        logit_scale: With ``config.text``: the factor of the cosine in the model's own logits. SigLIP's logits also have a
            bias, and are meant for a sigmoid a pair; the bias is the same for every class, so a softmax over classes does
            not see it.

    Raises:
        ComponentError: If the model is none that turns pixels of a fixed size into features, or lacks what was asked for.
        WeightsError: If files are missing or altered, or do not fit.
    """

    logit_scale: float

    def __init__(self, config: TransformersConfig, context: Context) -> None:
        place = reference(config)
        folder = context.weights.path(place, pinned=False)
        self._prepare = load_preprocessing(folder, config.image_size).to(context.device)
        model = load_model(folder, context.dtype, text=config.text, classifier=config.classifier)
        self._classifies = config.classifier
        self.columns: list[int] | None = None
        self.missing_labels: tuple[str, ...] = ()
        if config.classifier:
            names = _class_names(model, place)
            self.missing_labels = missing_labels(names, context.labels)
            self.columns = None if self.missing_labels else column_order(names, context.labels, place)
            _watch(model)
        if config.text:
            self._tokenizer = load_tokenizer(folder)
            self.logit_scale = _take_logit_scale(model, place)
        self.device, self.dtype = context.device, context.dtype
        self.module: Any = model.to(context.device).eval()
        if not context.training:
            model.requires_grad_(False)
        self._options = _options(model, self._prepare.crop)
        self.dim, self.token_dim, self._prefix = self._probe(place)

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, D]``, patch tokens ``[M, T, E]``, and logits ``[M, C]`` where the model classifies."""
        if len(pixels) == 0:
            classes = len(self.columns) if self.columns else 0
            none = torch.zeros(0, device=self.device)
            return EncoderOutput(
                none.reshape(0, self.dim),
                none.reshape(0, 0, self.token_dim),
                none.reshape(0, classes) if self.columns else None,
            )
        hidden, pooled, logits = self._forward(self._prepare(pixels.to(self.device)).to(self.dtype))
        return EncoderOutput(
            pooled.float(),
            hidden[:, self._prefix :].float(),
            logits[:, self.columns].float() if logits is not None and self.columns else None,
        )

    def encode_text(self, texts: list[str]) -> Tensor:
        """``texts`` to ``[P, D]`` in the space of the pooled features, not normalized; what is too long is cut."""
        config = self.module.config
        length = config.text_config.max_position_embeddings
        batch = self._tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        if config.model_type.startswith("siglip"):  # trained to see its padding
            batch = {"input_ids": batch["input_ids"]}
        features = self.module.get_text_features(**{name: ids.to(self.device) for name, ids in batch.items()})
        pooled: Tensor = features.pooler_output
        return pooled.float()

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameters of the image tower from input to output: embeddings, each layer, norm with pooler or projection."""
        return parameter_stages(self.module)

    def text_stages(self) -> list[list[nn.Parameter]]:
        """Likewise of the text tower; empty where it was not loaded."""
        return parameter_stages(self.module, text=True)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Last hidden states ``[M, L, E]``, pooled ``[M, D]``, logits ``[M, K]`` in the model's order."""
        if self._classifies:
            return _classify(self.module, x, self._options)
        run = getattr(self.module, "get_image_features", self.module)
        output = run(pixel_values=x, **self._options)
        hidden = _as_sequence(output.last_hidden_state)
        pooled = output.get("image_embeds", output.get("pooler_output"))
        if pooled is None:
            pooled = hidden[:, 0] if self._prefix_length(hidden) else hidden.mean(1)
        return hidden, pooled.flatten(1), None

    def _prefix_length(self, hidden: Tensor) -> int:
        """How many tokens stand before those of the patches; none in models whose maps shrink from stage to stage."""
        config = getattr(self.module.config, "vision_config", self.module.config)
        patch = getattr(config, "patch_size", None)
        if not patch:
            return 0
        sides = patch if isinstance(patch, list | tuple) else (patch, patch)
        patches: int = (self._prepare.crop[0] // sides[0]) * (self._prepare.crop[1] // sides[1])
        return max(0, int(hidden.shape[1]) - patches)

    @torch.no_grad()
    def _probe(self, place: str) -> tuple[int, int, int]:
        """Width of pooled features and of tokens, and tokens to leave out: of a black picture."""
        try:
            hidden, pooled, _ = self._forward(
                torch.zeros(1, 3, *self._prepare.crop, device=self.device, dtype=self.dtype)
            )
        except FAULTS as error:
            raise ComponentError(
                f"{place}: {type(self.module).__name__} does not turn pixels of {self._prepare.crop} into features: "
                f"{line(error)}"
            ) from error
        return pooled.shape[1], hidden.shape[2], self._prefix_length(hidden)


def _class_names(model: Any, place: str) -> list[str]:
    """What the columns of the model's logits stand for."""
    if not isinstance(getattr(model, "classifier", None), nn.Module):
        raise ComponentError(
            f"{place}: {type(model).__name__} does not call its last layer `classifier`: use it without"
        )
    names = model.config.id2label
    return [names[index] for index in range(len(names))]


def _watch(model: Any) -> None:
    """Keep what a classifier computes on its way: it returns no more than logits."""
    backbone = getattr(model, "vision_model", model.base_model)
    backbone.register_forward_hook(_keep_hidden)
    model.classifier.register_forward_pre_hook(_keep_pooled)


def _keep_hidden(_module: nn.Module, _inputs: Any, output: Any) -> None:
    _seen.hidden = output.last_hidden_state


def _keep_pooled(_module: nn.Module, inputs: Any) -> None:
    _seen.pooled = inputs[0]


def _classify(model: Any, x: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, what the classifier sees of them, and its logits; of a model that :func:`_watch` was told of."""
    try:
        logits = model(pixel_values=x, **options).logits
        return _as_sequence(_seen.hidden), _seen.pooled.flatten(1), logits
    finally:
        _seen.__dict__.clear()  # or they, and the graph behind them, would stay until the next call


def _as_sequence(hidden: Tensor) -> Tensor:
    """Maps ``[M, E, h, w]`` as ``[M, h·w, E]``."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _options(model: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Position embeddings are stretched where the input is not of the size that the model was built for."""
    config = getattr(model.config, "vision_config", model.config)
    built = getattr(config, "image_size", None)
    takes = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return {"interpolate_pos_encoding": True} if takes and built not in (None, size[0], list(size), size) else {}


def _take_logit_scale(model: Any, place: str) -> float:
    """The temperature's inverse; taken out of the model, so that it has no parameter its features do not depend on."""
    scale = getattr(model, "logit_scale", None)
    if scale is None:
        raise ComponentError(f"{place}: {type(model).__name__} has no logit_scale: leave out `text`")
    value = float(scale.detach().float().exp())
    for name in ("logit_scale", "logit_bias"):
        if hasattr(model, name):
            delattr(model, name)
    return value
