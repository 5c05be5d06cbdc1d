"""The two towers of a model: built, loaded, run, and cut into stages."""

import re
from collections.abc import Iterable
from typing import Any

from open_clip import CustomTextCLIP
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

from ferkit import ComponentError, WeightsError
from ferkit_open_clip.sources import Source

Tensors = dict[str, Tensor]
NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
"""A text tower of next to nothing, for models whose own is not wanted."""

_BLOCK = re.compile(r"resblocks\.(\d+)\.|layer(\d+)\.(\d+)\.|\b(?:layer|block)\.(\d+)\.")
_AFTER_BLOCKS = ("proj", "ln_post", "attn_pool", "attnpool", "text_projection", "ln_final")
_AFTER_BLOCKS_OF_TRANSFORMERS = ("transformer.pooler", "transformer.final_layer_norm", "transformer.layer_norm")


def build(source: Source, *, text: bool, image_size: int | None, tensors: Tensors) -> nn.ModuleDict:
    """The tower ``visual``, and with ``text`` the tower ``text``, with their weights.

    Every model is built as ``CustomTextCLIP``, whose towers stand apart: those of ``CLIP`` and of ``CoCa`` compute the
    same, and open_clip itself converts the names of their weights.

    Args:
        source: The model.
        text: Whether the text tower is wanted.
        image_size: Input side in pixels; None: the model's own.
        tensors: Its weights, by open_clip's names.

    Raises:
        ComponentError: If open_clip can't build it.
        WeightsError: If the weights are of another model.
    """
    settings = source.architecture
    vision = {**settings["vision_cfg"], "timm_model_pretrained": False}  # which would download
    timm = bool(vision.get("timm_model_name"))
    if image_size and not timm:
        vision["image_size"] = image_size
    if not timm and isinstance(vision.get("layers", 12), int):
        vision["output_tokens"] = True
    words = {**settings["text_cfg"], "hf_model_pretrained": False} if text else NO_TEXT
    quick_gelu = settings.get("quick_gelu", False)
    try:
        model = CustomTextCLIP(settings["embed_dim"], vision, words, quick_gelu=quick_gelu)
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError, OSError) as error:
        cause = " ".join(str(error).split())
        raise ComponentError(f"open_clip can't build {source.name}: {type(error).__name__}: {cause}") from error
    towers = nn.ModuleDict({"visual": model.visual, "text": model.text} if text else {"visual": model.visual})
    _load(towers, model, tensors, source)
    if image_size and timm:
        model.visual.set_input_size(image_size)
    return towers


def _load(towers: nn.ModuleDict, model: CustomTextCLIP, tensors: Tensors, source: Source) -> None:
    prefixes = tuple(f"{name}." for name in towers)
    state = {
        name: tensor
        for name, tensor in convert_to_custom_text_state_dict(tensors).items()
        if name.startswith(prefixes) and not name.endswith(".position_ids")  # a buffer of older transformers
    }
    if "visual.positional_embedding" in state:
        state["visual.positional_embedding"] = state["visual.positional_embedding"].float()
        try:
            resize_pos_embed(state, model)  # for another image_size
        except RuntimeError as error:
            raise WeightsError(f"{source.weights} does not fit {source.name}: {error}") from error
    own = towers.state_dict()
    problems = [f"{name} is missing" for name in sorted(own.keys() - state.keys())]
    problems += [f"{name} is unknown" for name in sorted(state.keys() - own.keys())]
    problems += [
        f"{name} has shape {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise WeightsError(
            f"{source.weights} does not fit {source.name}: {'; '.join(problems[:4])}{more}. Are they of another model?"
        )
    towers.load_state_dict(state)


def encode_image(tower: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled ``[M, D]`` and tokens ``[M, T, E]`` of normalized pixels, by any of open_clip's three kinds of towers."""
    if isinstance(tower, TimmModel):
        maps = tower.trunk.forward_features(pixels)
        return tower.head(tower.trunk.forward_head(maps)), _tokens_of_timm(tower.trunk, maps)
    if isinstance(tower, ModifiedResNet):
        found = tower.forward_intermediates(pixels, indices=1)
        return found["image_features"], found["image_intermediates"][0].flatten(2).transpose(1, 2)
    pooled, tokens = tower(pixels)
    return pooled, tokens


def _tokens_of_timm(trunk: nn.Module, maps: Tensor) -> Tensor:
    if maps.ndim == 3:
        return maps[:, getattr(trunk, "num_prefix_tokens", 0) :]
    if getattr(trunk, "output_fmt", "NCHW") == "NHWC":
        return maps.flatten(1, 2)
    return maps.flatten(2).transpose(1, 2)


def token_dim(tower: Any) -> int:
    """Width E of the tokens: that of the tower before its projection, or of the attentional pooler where it has one."""
    if isinstance(tower, TimmModel):
        return int(tower.trunk.num_features)
    if isinstance(tower, ModifiedResNet):
        return int(tower.attnpool.c_proj.in_features)
    return int(tower.ln_post.normalized_shape[0]) if tower.attn_pool is not None else int(tower.conv1.out_channels)


def stages(tower: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters from input to output: embedding, each block, and what comes after the last."""
    if not isinstance(tower, TimmModel):
        return _grouped(tower.named_parameters())
    names = group_with_matcher(tower.trunk.named_parameters(), tower.trunk.group_matcher(coarse=True), reverse=False)
    parameters = dict(tower.trunk.named_parameters())
    groups = [[parameters[name] for name in names[key]] for key in sorted(names)]
    return [group for group in (*groups, list(tower.head.parameters())) if group]


def _grouped(parameters: Iterable[tuple[str, nn.Parameter]]) -> list[list[nn.Parameter]]:
    groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        block = _BLOCK.search(name)
        if block:
            place = (1, *(int(number) for number in block.groups() if number))
        else:
            place = (2,) if name.startswith(_AFTER_BLOCKS + _AFTER_BLOCKS_OF_TRANSFORMERS) else (0,)
        groups.setdefault(place, []).append(parameter)
    return [groups[place] for place in sorted(groups)]
