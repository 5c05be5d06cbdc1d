"""From a recipe's ``data`` to faces with targets, and what of them was left out."""

import io
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ferkit.cache import Cache
from ferkit.datasets.prepared import Prepared, prepare
from ferkit.datasets.split import hold_out, units_of
from ferkit.datasets.targets import Targets, class_targets, require_dropped
from ferkit.decisions import counted
from ferkit.errors import FerkitError
from ferkit.interfaces import Context, Dataset, Sample
from ferkit.recipe import Recipe
from ferkit.stages import build

NAMED = 20  # samples without a face that a run's record names
SMALL = 256  # pixels: no side of a crop is larger


@dataclass(frozen=True, eq=False)
class Gathered:
    """Faces of one side of the split.

    Attributes:
        prepared: Views of those that were found.
        shares: Soft labels ``[N, C]``.
        missed: Per class the samples whose face was not found, int64 ``[C]``.
        unfound: Ids of those samples whose picture could be read.
        errors: Why pictures could not be read, by the sample's id.
        counts: Samples by label, found or not.
        shared: Number of subjects, and of groups, that are on the other side, too.
    """

    prepared: Prepared
    shares: Tensor
    missed: Tensor
    unfound: tuple[str, ...]
    errors: dict[str, str]
    counts: dict[str, int]
    shared: dict[str, int]

    def fingerprint(self) -> list[Any]:
        """What decides what is learnt from them."""
        return [[sample.id for sample in self.prepared.samples], self.prepared.keys, self.shares.tolist()]

    def summary(self) -> dict[str, Any]:
        """Plain data for the run's record; with a normalizer also what it made of the faces that were found."""
        made = [decision for decision in self.prepared.decisions if decision]
        return {
            "samples": sum(self.counts.values()),
            "missed": int(self.missed.sum()),
            "missed_ids": list(self.unfound[:NAMED]),
            "unreadable": self.errors,
            "by_label": self.counts,
            "absent_labels": [label for label, n in self.counts.items() if n == 0],
            "shared": self.shared,
            **({"decisions": counted(made)} if made else {}),
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
    for remark in getattr(dataset, "remarks", ()):
        warnings.warn(f"the data: {remark}", stacklevel=2)
    learn, held = sides(dataset, recipe)
    drop = recipe.selection.drop_labels
    require_dropped([*learn, *held], drop)
    targets = class_targets(learn, recipe.labels, drop)
    targets.require_every_class()
    judged = class_targets(held, recipe.labels, drop)
    _require_enough(targets, judged, recipe)
    shared = _compared(targets, judged, recipe)
    soft = recipe.framework.training is not None and recipe.framework.training.soft_labels
    faces = _gathered(
        targets, dataset, recipe, context, cache, soft, shared, watch("faces to learn from", len(targets))
    )
    _require_every_class(faces)
    advance = watch("faces to judge by", len(judged))
    return faces, _gathered(judged, dataset, recipe, context, cache, False, shared, advance)


def sides(dataset: Dataset, recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from and to judge by: two splits of the data, or one split by subject."""
    selection = recipe.selection
    name = selection.split
    if name not in dataset.splits and list(dataset.splits) == ["all"] and name == "train":
        name = "all"  # the default means what there is
    samples = _split(dataset, name)
    if selection.validation == name:
        raise FerkitError(
            f"data.validation names the split {name} itself, whose faces are learnt from: name another split, or a share "
            "such as 0.1"
        )
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


def _require_enough(targets: Targets, judged: Targets, recipe: Recipe) -> None:
    """Check that there is something to learn from, and to judge by."""
    units = set(units_of(targets.samples))
    if len(judged) == 0 and len(targets) > 1 and len(units) == 1:
        kind, name = units.pop()
        raise FerkitError(
            f"all {len(targets)} samples are of one {kind}, {name!r}, of which nothing can be held out: add others, or "
            "name another split in data.validation"
        )
    if len(judged) == 0 or len(targets) < 2 * len(recipe.labels):
        raise FerkitError(
            f"{len(targets)} samples to learn from and {len(judged)} to judge by are too few for "
            f"{len(recipe.labels)} classes: give more data, or another data.validation"
        )


def _compared(targets: Targets, judged: Targets, recipe: Recipe) -> dict[str, int]:
    """How many subjects and groups are on both sides; warns of what makes the held-out side a poor judge."""
    if ids := {sample.id for sample in targets.samples} & {sample.id for sample in judged.samples}:
        raise FerkitError(
            f"{len(ids)} of {len(judged)} held-out samples are learnt from, too, such as {min(ids)!r}: name another split "
            "in data.validation"
        )
    shared = {f"{kind}s": len(_names(targets, kind) & _names(judged, kind)) for kind in ("subject", "group")}
    if isinstance(recipe.selection.validation, str) and any(shared.values()):
        counts = " and ".join(f"{n} {kind}" for kind, n in shared.items() if n)
        warnings.warn(
            f"{counts} of the split {recipe.selection.validation} are learnt from, too (n = {len(judged)} samples held out): "
            "what is measured on it flatters; a share in data.validation keeps them apart",
            stacklevel=3,
        )
    counted = judged.classes.bincount(minlength=len(judged.labels)).tolist()
    if absent := [label for label, n in zip(judged.labels, counted, strict=True) if not n]:
        warnings.warn(
            f"none of the {len(judged)} held-out samples is labelled {', '.join(absent)}: what is measured says nothing "
            "of that; another data.validation may hold some out",
            stacklevel=3,
        )
    return shared


def _names(targets: Targets, kind: str) -> set[str]:
    """The subjects or groups there are."""
    return {name for sample in targets.samples if (name := getattr(sample, kind)) is not None}


def _gathered(
    targets: Targets,
    dataset: Dataset,
    recipe: Recipe,
    context: Context,
    cache: Cache,
    soft: bool,
    shared: dict[str, int],
    advance: Callable[[int], None],
) -> Gathered:
    prepared = prepare(targets.samples, dataset.is_crop, recipe, context, cache, advance)
    found = torch.nonzero(prepared.found).flatten()
    _tell_unreadable(prepared)
    if not len(found):
        raise FerkitError(
            f"no face was found in any of {len(targets)} pictures; is the data cropped to faces? Then say so "
            "(`data.crops: true`), or choose another detector"
        )
    hard = torch.nn.functional.one_hot(targets.classes, len(targets.labels)).float()
    lost = hard.sum(0) - hard[found].sum(0)
    there = prepared.found.tolist()
    unfound = [sample for sample, face in zip(prepared.samples, there, strict=True) if not face]
    unfound = [sample for sample in unfound if sample.id not in prepared.errors]
    if unfound and all(_is_like_a_crop(sample) for sample in unfound[:NAMED]):
        warnings.warn(
            f"no face was found in {len(unfound)} of {len(prepared)} pictures, which are small and square: are they cropped "
            "to faces already? Then say so (`data.crops: true`)",
            stacklevel=3,
        )
    return Gathered(
        prepared.select(found.tolist()),
        (targets.shares if soft else hard)[found],
        lost.long(),
        tuple(sample.id for sample in unfound),
        prepared.errors,
        dict(zip(targets.labels, hard.sum(0).long().tolist(), strict=True)),
        shared,
    )


def _is_like_a_crop(sample: Sample) -> bool:
    """Whether a picture that can be read is small and square, as crops of faces are."""
    picture = io.BytesIO(sample.image) if sample.image is not None else sample.source
    with Image.open(picture) as opened:
        return opened.width == opened.height <= SMALL


def _tell_unreadable(prepared: Prepared) -> None:
    """Warn of pictures that can't be read; where none can, there is nothing to go on with."""
    if not prepared.errors:
        return
    first = next(iter(prepared.errors.values()))
    told = f"{len(prepared.errors)} of {len(prepared)} pictures can't be read, first: {first}"
    if len(prepared.errors) == len(prepared):
        raise FerkitError(f"{told}; check the paths (data.path, data.root)")
    warnings.warn(told, stacklevel=4)


def _require_every_class(faces: Gathered) -> None:
    """Check that of every class a face was found, or votes for it."""
    empty = [label for label, share in zip(faces.counts, faces.shares.sum(0).tolist(), strict=True) if share == 0]
    if empty:
        raise FerkitError(
            f"none of the {len(faces.prepared)} faces that were found is labelled {', '.join(empty)}: add pictures, or "
            "take these classes out of the recipe's labels"
        )
