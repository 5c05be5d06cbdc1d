"""Low-rank adapters (Hu et al. 2022): put into a module, and merged into its weights."""

import re
from collections.abc import Container, Iterator

from torch import Tensor, nn

from ferkit.errors import FerkitError
from ferkit.training.options import Lora

MOST_NAMES = 20  # of layers in an error


def adapt(module: nn.Module, options: Lora, name: str, apart: list[nn.Parameter]) -> list[nn.Parameter]:
    """Put low-rank adapters into a module, in place, but for layers with parameters in ``apart``; their parameters.

    Raises:
        FerkitError: If peft is missing, or the module has no such layers, or they can't be merged into a weight.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora.layer import LoraLayer
    except ImportError as error:
        raise FerkitError("training.learn with lora needs peft: pip install 'ferkit[train]'") from error
    spared = set(apart)
    layers = {key: layer for key, layer in module.named_modules() if spared.isdisjoint(layer.parameters())}
    fitting = [key for key, layer in layers.items() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if options.targets:
        chosen = [key for key in layers if f".{key}".endswith(tuple(f".{target}" for target in options.targets))]
    else:  # torch's own attention reads the weights of its out_proj past the layer, so an adapter there would do nothing
        chosen = [key for key in fitting if isinstance(layers[key], nn.Linear) and "out_proj" not in key]
    if not chosen:
        wanted = f"named {', '.join(options.targets)}" if options.targets else "that is linear"
        endings = sorted({match[0] for key in fitting if (match := re.search(r"[^.]+(\.\d+)*$", key))})
        there = f"{', '.join(endings[:MOST_NAMES])}{' …' if len(endings) > MOST_NAMES else ''}"
        raise FerkitError(
            f"training.learn.{name}.lora: there is no layer {wanted}: choose other targets, or stages; names of layers that "
            f"adapters fit end in {there or 'nothing'}"
        )
    exactly = "|".join(re.escape(key) for key in chosen)  # a list would be of endings
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=exactly)
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        raise FerkitError(f"training.learn.{name}.lora: {' '.join(str(error).split())}") from error
    for key, layer in module.named_modules():
        if isinstance(layer, LoraLayer) and not isinstance(layer.get_base_layer(), nn.Linear | nn.Conv2d):
            kind = type(layer.get_base_layer()).__name__
            raise FerkitError(
                f"training.learn.{name}.lora: {key} is of {kind}; name linear layers and Conv2d as targets"
            )
    adapters = [parameter for key, parameter in module.named_parameters() if "lora_" in key]
    for parameter in adapters:
        parameter.requires_grad_(False)  # peft has opened them already; what learns is opened in one place
    return adapters


def merged(module: nn.Module, moved: Container[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Weights that adapters changed, by the names they have without adapters."""
    from peft.tuners.lora.layer import Conv2d, Linear

    for name, layer in module.named_modules():
        if isinstance(layer, Linear | Conv2d) and any(parameter in moved for parameter in layer.parameters()):
            weight = layer.get_parameter("base_layer.weight").detach()
            yield f"{name}.weight", weight + layer.get_delta_weight("default").to(weight.dtype)
