"""A model's parameters in groups, from input to output."""

from collections.abc import Iterator

from torch import nn

TEXT = "text"
"""How transformers begins the names of all parts of a text tower."""


def parameter_stages(model: nn.Module, *, text: bool = False) -> list[list[nn.Parameter]]:
    """What comes before the blocks, each block, what comes after them; of the image tower or the text tower.

    The blocks are the largest list of modules. transformers registers modules in the order in which they run, so the place
    of a parameter tells on which side of the blocks it is.
    """
    blocks = _blocks(model, text)
    before: list[nn.Parameter] = []
    after: list[nn.Parameter] = []
    inside: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith(TEXT) != text:
            continue
        if blocks and name.startswith(blocks):
            inside.setdefault(name.removeprefix(blocks).partition(".")[0], []).append(parameter)
        else:
            (after if inside else before).append(parameter)
    return [group for group in (before, *inside.values(), after) if group]


def _blocks(model: nn.Module, text: bool) -> str:
    """Prefix of the blocks' parameters, or nothing where there are no blocks."""
    lists = [
        (sum(parameter.numel() for parameter in module.parameters()), f"{name}.")
        for name, module in _lists(model)
        if name.startswith(TEXT) == text
    ]
    return max(lists, key=lambda item: item[0], default=(0, ""))[1]  # of equals the outermost, which comes first


def _lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            yield name, module
