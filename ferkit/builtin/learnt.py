"""What the learnt heads share: pooled features of all encoders side by side, and weights that know their labels."""

import json
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ferkit.builtin import Learnt
from ferkit.errors import WeightsError
from ferkit.interfaces import Context
from ferkit.labels import column_order
from ferkit.types import Faces, Features


class PooledHead:
    """A module on the concatenated pooled features, averaged over the views of a face.

    Args:
        build: Makes the module: from ``[N, D]`` to ``[N, C]``, its last layer a linear one called ``classifier``.
        config: Names its weights.
        context: Its labels must be among those the weights were trained for.

    Raises:
        WeightsError: If there are no weights and none are about to be learnt, or they fit another head.
    """

    def __init__(self, build: Callable[[], nn.Module], config: Learnt, context: Context) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            module = self.module = build()
        self.names = tuple(context.inputs)
        if config.weights:
            _load(module, config.weights, context)
        elif not context.training:
            raise WeightsError("the head has no weights: name those it was trained to with head.weights=…")
        module.to(context.device).eval().requires_grad_(context.training)

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``."""
        pooled = torch.cat([features.encoders[name].pooled for name in self.names], 1)
        logits: Tensor = self.module(features.mean_over_views(pooled, len(faces)))
        return logits

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups from input to output."""
        return [list(child.parameters()) for child in self.module.children() if list(child.parameters())]


def width(context: Context) -> int:
    """Width of all encoders' pooled features side by side."""
    return sum(spec.dim for spec in context.inputs.values())


def _load(module: nn.Module, weights: str, context: Context) -> None:
    """Load tensors; columns are put in the order of the recipe's labels by name."""
    tensors, metadata = context.weights.load(weights)
    if "labels" not in metadata:
        raise WeightsError(
            f"{weights} does not say what its columns stand for: save it with the labels as metadata, "
            'save_file(tensors, path, {"labels": json.dumps(labels)})'
        )
    trained_for = json.loads(metadata["labels"])
    order = column_order(trained_for, context.labels, weights)
    if "encoders" in metadata and json.loads(metadata["encoders"]) != list(context.inputs):
        names = ", ".join(json.loads(metadata["encoders"]))
        raise WeightsError(f"{weights} was trained on the encoders {names}, in this order; the recipe has others")
    own = module.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if name in tensors and len(tensors[name]) == len(trained_for):
            tensors[name] = tensors[name][order]
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{name} is unknown" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, not {list(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if tensors[name].shape != own[name].shape
    ]
    if problems:
        named = "" if own.keys() == tensors.keys() else f"; its tensors are {', '.join(sorted(own))}"
        raise WeightsError(f"{weights} does not fit this head on these encoders: {'; '.join(sorted(problems))}{named}")
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
