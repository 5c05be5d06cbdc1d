"""What the learnt heads share: seeded modules, weights that know their labels, and pooled features side by side."""

import json
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ferkit.builtin import Learnt
from ferkit.errors import WeightsError
from ferkit.interfaces import Context
from ferkit.labels import column_order
from ferkit.types import Faces, Features

CLASS_ROWS = ("classifier.weight", "classifier.bias")
"""Tensors with a row a class, in the order of the labels. Nothing else in a head may depend on the classes."""


class LearntHead:
    """A head with parameters of its own.

    Args:
        build: Makes the module. Its layer that has a row a class, if any, is a linear one called ``classifier``.
        weights: Names those it was trained to.
        context: Its labels must be among those the weights were trained for.
        untrained: Whether it is of use without weights.

    Raises:
        WeightsError: If there are no weights and none are about to be learnt, or they fit another head.
    """

    def __init__(
        self, build: Callable[[], nn.Module], weights: str | None, context: Context, untrained: bool = False
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            module = self.module = build()
        self.names = tuple(context.inputs)
        if weights:
            _load(module, weights, context)
        elif not (context.training or untrained):
            raise WeightsError("the head has no weights: name those it was trained to with head.weights=…")
        module.to(context.device).eval().requires_grad_(context.training)

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups from input to output."""
        return groups(self.module.children())


class PooledHead(LearntHead):
    """A module on the concatenated pooled features, averaged over the views of a face.

    Args:
        build: Makes the module: from ``[N, D]`` to ``[N, C]``, its last layer a linear one called ``classifier``.
        config: Names its weights.
        context: Its labels must be among those the weights were trained for.

    Raises:
        WeightsError: If there are no weights and none are about to be learnt, or they fit another head.
    """

    def __init__(self, build: Callable[[], nn.Module], config: Learnt, context: Context) -> None:
        super().__init__(build, config.weights, context)

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``."""
        logits: Tensor = self.module(pooled(features, self.names, len(faces)))
        return logits


def pooled(features: Features, names: Iterable[str], n_faces: int) -> Tensor:
    """Pooled features of all encoders side by side, averaged over the views of each face: ``[N, D]``."""
    rows = torch.cat([features.encoders[name].pooled for name in names], 1)
    return features.mean_over_views(rows, n_faces)


def width(context: Context) -> int:
    """Width of all encoders' pooled features side by side."""
    return sum(spec.dim for spec in context.inputs.values())


def groups(modules: Iterable[nn.Module]) -> list[list[nn.Parameter]]:
    """The parameters of each of ``modules`` that has some."""
    return [parameters for module in modules if (parameters := list(module.parameters()))]


def _load(module: nn.Module, weights: str, context: Context) -> None:
    """Load tensors; rows of classes are put in the order of the recipe's labels by name."""
    tensors, metadata = context.weights.load(weights)
    own = module.state_dict()
    if own.keys() & set(CLASS_ROWS):
        tensors = _in_order(tensors, metadata, weights, context.labels)
    if "encoders" in metadata and json.loads(metadata["encoders"]) != list(context.inputs):
        names = ", ".join(json.loads(metadata["encoders"]))
        raise WeightsError(f"{weights} was trained on the encoders {names}, in this order; the recipe has others")
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


def _in_order(
    tensors: dict[str, Tensor], metadata: dict[str, str], weights: str, labels: tuple[str, ...]
) -> dict[str, Tensor]:
    if "labels" not in metadata:
        raise WeightsError(
            f"{weights} does not say what its columns stand for: save it with the labels as metadata, "
            'save_file(tensors, path, {"labels": json.dumps(labels)})'
        )
    trained_for = json.loads(metadata["labels"])
    order = column_order(trained_for, labels, weights)
    rows = {name: tensors[name] for name in CLASS_ROWS if name in tensors and len(tensors[name]) == len(trained_for)}
    return {**tensors, **{name: tensor[order] for name, tensor in rows.items()}}
