"""From a recipe's ``data`` to faces with targets, and what of them was left out."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ferkit.cache import Cache
from ferkit.datasets.prepared import Prepared, prepare
from ferkit.datasets.split import hold_out
from ferkit.datasets.targets import Targets, class_targets
from ferkit.errors import FerkitError
from ferkit.interfaces import Context, Dataset, Sample
from ferkit.recipe import Recipe
from ferkit.stages import build


@dataclass(frozen=True, eq=False)
class Gathered:
    """Faces of one side of the split.

    Attributes:
        prepared: Views of those that were found.
        shares: Soft labels ``[N, C]``.
        missed: Per class the samples whose face was not found, int64 ``[C]``.
        errors: Why pictures could not be read, by the sample's id.
        counts: Samples by label, found or not.
    """

    prepared: Prepared
    shares: Tensor
    missed: Tensor
    errors: dict[str, str]
    counts: dict[str, int]

    def fingerprint(self) -> list[Any]:
        """What decides what is learnt from them."""
        return [[sample.id for sample in self.prepared.samples], self.prepared.keys, self.shares.tolist()]

    def summary(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {
            "samples": sum(self.counts.values()),
            "missed": int(self.missed.sum()),
            "unreadable": self.errors,
            "by_label": self.counts,
        }


def gather(
    recipe: Recipe, context: Context, cache: Cache, watch: Callable[[str, int], Callable[[int], None]]
) -> tuple[Gathered, Gathered]:
    """Faces to learn from, and faces to judge by.

    Args:
        recipe: With ``data``.
        context: Where detectors and normalizers are built.
        cache: Where views are kept.
        watch: Told what begins and how many samples it has; what it returns is told of their progress.

    Raises:
        FerkitError: If the data lacks splits, labels, classes or faces.
    """
    if recipe.data is None:
        raise FerkitError("there is nothing to learn from: name a data set, --data NAME:PATH or the recipe's `data:`")
    dataset: Dataset = build(recipe.data, context)
    learn, held = _sides(dataset, recipe)
    drop = recipe.selection.drop_labels
    targets = class_targets(learn, recipe.labels, drop)
    targets.require_every_class()
    judged = class_targets(held, recipe.labels, drop)
    if len(judged) == 0 or len(targets) < 2 * len(recipe.labels):
        raise FerkitError(
            f"{len(targets)} samples to learn from and {len(judged)} to judge by are too few for "
            f"{len(recipe.labels)} classes: give more data, or another data.validation"
        )
    soft = recipe.framework.training is not None and recipe.framework.training.soft_labels
    faces = _gathered(targets, dataset, recipe, context, cache, soft, watch("faces to learn from", len(targets)))
    _require_every_class(faces)
    return faces, _gathered(judged, dataset, recipe, context, cache, False, watch("faces to judge by", len(judged)))


def _sides(dataset: Dataset, recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from and to judge by: two splits of the data, or one split by subject."""
    selection = recipe.selection
    name = selection.split
    if name not in dataset.splits and list(dataset.splits) == ["all"] and name == "train":
        name = "all"  # the default means what there is
    samples = _split(dataset, name)
    if isinstance(selection.validation, str):
        return samples, _split(dataset, selection.validation)
    return hold_out(samples, selection.validation, recipe.framework.seed)


def _split(dataset: Dataset, name: str) -> list[Sample]:
    if name not in dataset.splits:
        raise FerkitError(f"the data has no split {name!r}: choose one of {', '.join(dataset.splits)}")
    samples = list(dataset.samples(name))
    twice = [key for key, n in Counter(sample.id for sample in samples).items() if n > 1]
    if twice:
        raise FerkitError(f"the split {name} holds the id {twice[0]!r} more than once, and {len(twice) - 1} others")
    return samples


def _gathered(
    targets: Targets,
    dataset: Dataset,
    recipe: Recipe,
    context: Context,
    cache: Cache,
    soft: bool,
    advance: Callable[[int], None],
) -> Gathered:
    prepared = prepare(targets.samples, dataset.is_crop, recipe, context, cache, advance)
    found = torch.nonzero(prepared.found).flatten()
    if not len(found):
        raise FerkitError(
            f"no face was found in any of {len(targets)} pictures; is the data cropped to faces? Then say so (`crops: true`), "
            "or choose another detector"
        )
    hard = torch.nn.functional.one_hot(targets.classes, len(targets.labels)).float()
    lost = hard.sum(0) - hard[found].sum(0)
    return Gathered(
        prepared.select(found.tolist()),
        (targets.shares if soft else hard)[found],
        lost.long(),
        prepared.errors,
        dict(zip(targets.labels, hard.sum(0).long().tolist(), strict=True)),
    )


def _require_every_class(faces: Gathered) -> None:
    """Check that of every class a face was found, or votes for it."""
    empty = [label for label, share in zip(faces.counts, faces.shares.sum(0).tolist(), strict=True) if share == 0]
    if empty:
        raise FerkitError(
            f"none of the {len(faces.prepared)} faces that were found is labelled {', '.join(empty)}: add pictures, or "
            "take these classes out of the recipe's labels"
        )
