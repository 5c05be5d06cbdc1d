"""Models and tokenizers from a folder of safetensors: whole, without a network, without code of strangers."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoTokenizer
from transformers.utils import logging

from ferkit import ComponentError, WeightsError

SAFE = {"local_files_only": True, "trust_remote_code": False}
VISION_TOWERS = {"clip": "CLIPVisionModelWithProjection", "siglip": "SiglipVisionModel"}
"""Models of two towers whose image tower has a class of its own with the same features."""
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)
"""What transformers raises on files that it can't make sense of."""


def load_model(folder: Path, dtype: torch.dtype, *, text: bool = False, classifier: bool = False) -> Any:
    """The model saved in ``folder``: a base model, one of two towers, or an image classifier.

    Without ``text``, a text tower is left out.

    Raises:
        ComponentError: If the model is of a kind that transformers does not know, or lacks what is asked for.
        WeightsError: If parameters are missing or do not fit.
    """
    if (folder / "adapter_config.json").exists():
        raise WeightsError(f"{folder} has a PEFT adapter: merge it into its model (merge_and_unload) and save that")
    with quietly():
        try:
            config = AutoConfig.from_pretrained(folder, **SAFE)
        except FAULTS as error:
            raise ComponentError(f"{folder}: transformers can't read config.json: {line(error)}") from error
        builder, config = _builder(config, text, classifier)
        try:
            model, found = builder.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
                **SAFE,
            )
        except FAULTS as error:
            raise WeightsError(f"{folder} can't be loaded by {builder.__name__}: {line(error)}") from error
    _check_loaded(model, found, folder, classifier)
    if text and not hasattr(model, "get_text_features"):
        raise ComponentError(f"{folder} holds a {type(model).__name__}, which has no text tower: leave out `text`")
    if not text:
        _drop_text(model)
    _drop_idle(model)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved beside a model.

    Raises:
        WeightsError: If it is not there or can't be read.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would go on with an empty one
        raise WeightsError(f"{folder} has no tokenizer (one of {', '.join(VOCABULARIES)}): leave out `text`, or add it")
    with quietly():
        try:
            return AutoTokenizer.from_pretrained(folder, **SAFE)
        except FAULTS as error:
            raise WeightsError(f"the tokenizer of {folder} can't be loaded: {line(error)}") from error


def _builder(config: Any, text: bool, classifier: bool) -> tuple[Any, Any]:
    """The class to load with, and the configuration it takes."""
    if classifier:
        return AutoModelForImageClassification, config
    if not text and config.model_type in VISION_TOWERS:
        vision = config.vision_config
        if config.model_type == "clip":  # the width of the projection is the pair's
            vision.projection_dim = config.projection_dim
        return getattr(transformers, VISION_TOWERS[config.model_type]), vision
    if "CLIPVisionModelWithProjection" in (config.architectures or ()):
        return transformers.CLIPVisionModelWithProjection, config
    return AutoModel, config


def _check_loaded(model: Any, found: Any, folder: Path, classifier: bool) -> None:
    """Refuse a model with parameters that are not the checkpoint's; a pooler that was never saved is left out."""
    missing = sorted(found["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing) and _has_optional_pooler(model):
        model.pooler = None
        missing = []
    faults = [f"{name} is missing" for name in missing]
    faults += [
        f"{name} has {list(saved)}, not {list(built)}" for name, saved, built in sorted(found["mismatched_keys"])
    ]
    if faults:
        hint = "; is it a classifier at all? If not, leave out `classifier`" if classifier else ""
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise WeightsError(
            f"the weights in {folder} do not fit {type(model).__name__}: {', '.join(faults[:4])}{more}{hint}"
        )


def _has_optional_pooler(model: Any) -> bool:
    return "add_pooling_layer" in inspect.signature(type(model).__init__).parameters


def _drop_text(model: Any) -> None:
    """Leave out what only texts need, in a model of two towers that was loaded whole."""
    parts = [name for name, _ in model.named_children() if name.startswith("text")]
    for name in (*parts, "logit_scale", "logit_bias"):
        if hasattr(model, name):
            delattr(model, name)


def _drop_idle(model: Any) -> None:
    """Leave out parameters that no feature depends on, at which distributed training stops."""
    for module in model.modules():
        if isinstance(getattr(module, "mask_token", None), nn.Parameter):  # of masked pre-training
            module.mask_token = None
    if isinstance(model, transformers.CLIPForImageClassification):  # it pools by itself
        model.vision_model.post_layernorm = nn.Identity()
    if isinstance(model, transformers.SiglipForImageClassification) and model.vision_model.use_head:
        model.vision_model.use_head = False
        del model.vision_model.head


@contextmanager
def quietly() -> Iterator[None]:
    """No bars and reports: what they tell is checked."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
