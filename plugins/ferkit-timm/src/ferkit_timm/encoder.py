"""Encoder ``timm``."""

import difflib
import sys
from typing import Any

import timm
import torch
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit import ComponentError, Context, EncoderOutput, WeightsError
from ferkit.labels import column_order, missing_labels
from ferkit_timm import TimmConfig, hub_reference


class TimmEncoder:
    """A timm model with its own input size, mean and std.

    Args:
        config: Names model and weights.
        context: With ``config.labels``, there are no logits where its labels are not all among them.

    Raises:
        ComponentError: If timm has no such model, or the model no such layer.
        WeightsError: If the weights are missing, altered, or of another model.
    """

    def __init__(self, config: TimmConfig, context: Context) -> None:
        name = config.model.split(".")[0]
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"; near it: {', '.join(close)}" if close else ""
            raise ComponentError(f"timm {timm.__version__} has no model {config.model!r}{hint}")
        classes = len(config.labels or ())
        extra = {"img_size": config.image_size} if config.image_size and _takes_img_size(config.model) else {}
        model = timm.create_model(config.model, pretrained=False, num_classes=classes, **extra)
        _load(model, config, context)
        settings = timm.data.resolve_model_data_config(model)
        self.size = config.image_size or settings["input_size"][-1]
        self.mean, self.std = torch.tensor([settings["mean"], settings["std"]]).reshape(2, 3, 1, 1).to(context.device)
        self.missing_labels = missing_labels(config.labels, context.labels) if config.labels else ()
        self.columns: list[int] | None = None
        if config.labels and not self.missing_labels:
            self.columns = column_order(config.labels, context.labels, config.model)
        self.dim: int = getattr(model, "head_hidden_size", None) or model.num_features
        self._layers = _layers(model, config)
        self.token_dim: int | None = model.num_features
        if self._layers:
            self.token_dim = sum(model.feature_info[index]["num_chs"] for index in self._layers)
        self.device, self.dtype = context.device, context.dtype
        self.module: Any = model.to(context.device, context.dtype).eval()
        if not context.training:
            self.module.requires_grad_(False)

    def __call__(self, pixels: Tensor) -> EncoderOutput:
        """Pooled ``[M, D]``, patch tokens ``[M, T, E]``, and logits ``[M, C]`` where the model classifies.

        Of several layers, tokens of one place are joined to one (Hariharan et al. 2015), after maps of larger size were
        pooled to the smallest.
        """
        if len(pixels) == 0:  # reshapes inside transformers can't tell what zero elements stand for
            none = torch.zeros(0, device=self.device)
            return EncoderOutput(
                none.reshape(0, self.dim),
                none.reshape(0, 0, self.token_dim or 0),
                none.reshape(0, len(self.columns)) if self.columns else None,
            )
        x = pixels.to(self.device)
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        x = ((x - self.mean) / self.std).to(self.dtype)
        if self._layers:
            maps, chosen = self.module.forward_intermediates(x, indices=self._layers, norm=True, output_fmt="NCHW")
            tokens = _joined(chosen)
        else:
            maps = self.module.forward_features(x)
            tokens = self._tokens(maps)
        pooled = self.module.forward_head(maps, pre_logits=True)
        logits = self.module.forward_head(maps)[:, self.columns].float() if self.columns else None
        return EncoderOutput(pooled.float(), tokens.float(), logits)

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups from input to output, by timm's own grouping."""
        groups = group_with_matcher(
            self.module.named_parameters(), self.module.group_matcher(coarse=True), reverse=False
        )
        parameters = dict(self.module.named_parameters())
        return [[parameters[name] for name in groups[key]] for key in sorted(groups)]

    def _tokens(self, maps: Tensor) -> Tensor:
        if maps.ndim == 3:
            return maps[:, getattr(self.module, "num_prefix_tokens", 0) :]
        if getattr(self.module, "output_fmt", "NCHW") == "NHWC":
            return maps.flatten(1, 2)
        return maps.flatten(2).transpose(1, 2)


def _layers(model: Any, config: TimmConfig) -> list[int]:
    """Indices of the layers chosen, counted from the first, in the network's order; none where its output is wanted."""
    if config.layers is None:
        return []
    if not hasattr(model, "forward_intermediates"):
        raise ComponentError(f"timm's {config.model} gives no intermediate features: leave out `layers`")
    count = len(model.feature_info)
    if wrong := [index for index in config.layers if not -count <= index < count]:
        raise ComponentError(
            f"timm's {config.model} has layers 0 to {count - 1}, and -1 for the last, but no {wrong[0]}"
        )
    return sorted({index % count for index in config.layers})


def _joined(maps: list[Tensor]) -> Tensor:
    """Maps ``[M, E_i, h_i, w_i]`` as tokens ``[M, h·w, ΣE_i]`` of the smallest map's grid."""
    height, width = min(tuple(each.shape[-2:]) for each in maps)
    return torch.cat([F.adaptive_avg_pool2d(each, (height, width)) for each in maps], 1).flatten(2).transpose(1, 2)


def _takes_img_size(model: str) -> bool:
    """Whether a model is built for one input size, as transformers with position embeddings are."""
    settings = timm.get_pretrained_cfg(model)
    return bool(settings and settings.fixed_input_size)


def _load(model: nn.Module, config: TimmConfig, context: Context) -> None:
    """Load the weights, resampled to the model's input size; a classifier that was not asked for is left out."""
    source = config.weights or hub_reference(config)
    tensors, _ = context.weights.load(source, pinned=config.weights is not None)
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        fitting = _converted(floats, model, config)
        found = model.load_state_dict(fitting, strict=False)
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError, AssertionError) as error:
        cause = " ".join(str(error).split())
        raise WeightsError(f"{source} does not fit {config.model}: {cause}") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        names = ", ".join(
            [*(f"{n} is missing" for n in missing), *(f"{n} is unknown" for n in found.unexpected_keys)][:4]
        )
        hint = "" if config.labels else "; if it is a classifier, name its columns with `labels`"
        raise WeightsError(f"{source} does not fit {config.model}: {names}{hint}")


def _converted(tensors: dict[str, Tensor], model: Any, config: TimmConfig) -> dict[str, Tensor]:
    """A checkpoint as timm's own loading makes it fit: position embeddings resampled, names of old releases changed."""
    family = sys.modules[timm.model_entrypoint(config.model.split(".")[0]).__module__]
    if hasattr(family, "checkpoint_filter_fn"):
        tensors = family.checkpoint_filter_fn(tensors, model)
    if config.labels:
        return tensors
    classifier = model.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}
