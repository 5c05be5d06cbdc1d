"""What an evaluation is of: the samples of one split with their true labels."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ferkit.datasets.names import judged_split
from ferkit.datasets.targets import class_targets
from ferkit.errors import FerkitError
from ferkit.interfaces import Context, Dataset, Sample
from ferkit.journal import mark
from ferkit.recipe import Recipe, RecipeSource, load_recipe
from ferkit.registry import Registry
from ferkit.stages import build
from ferkit.weights import WeightsStore


@dataclass(frozen=True, eq=False)
class Judged:
    """Samples to judge by.

    Attributes:
        name: Of the data set.
        split: Of it.
        samples: Those with a label of the recipe's.
        truth: Their labels, in the recipe's spelling; of votes the one with the most, of equals the first.
        is_crop: Whether the pictures are cropped to the face.
        dropped: Number of samples left out by ``data.drop_labels``.
        digest: SHA-256 of ids, annotations, and of pictures that have no file.
    """

    name: str
    split: str
    samples: tuple[Sample, ...]
    truth: tuple[str, ...]
    is_crop: bool
    dropped: int
    digest: str

    def summary(self) -> dict[str, Any]:
        """Plain data for the provenance."""
        return {
            "name": self.name,
            "split": self.split,
            "digest": self.digest,
            "n": len(self.samples),
            "dropped": self.dropped,
            "crops": self.is_crop,
        }

    def pictures(self) -> str:
        """SHA-256 of the pictures' files by size, which outlives a copy: to read each takes as long as to judge it."""
        marks = [mark(sample.source) for sample in self.samples]
        return hashlib.sha256(repr([found and found[0] for found in marks]).encode()).hexdigest()


def judged(recipe: Recipe, split: str | None = None) -> Judged:
    """The samples of a split of the recipe's ``data``.

    Args:
        recipe: With ``data``.
        split: Name of the split; None: ``test``, else ``validation``, else the only one.

    Raises:
        FerkitError: If there is no data, no such split, nothing in it, an id twice, or a label that the recipe lacks.
    """
    if recipe.data is None:
        raise FerkitError("there is nothing to judge by: name a data set, --data NAME:PATH or the recipe's `data:`")
    context = Context(torch.device("cpu"), torch.float32, recipe.framework.seed, recipe.labels, WeightsStore())
    dataset: Dataset = build(recipe.data, context)
    name = split or judged_split(dataset.splits)
    samples = list(dataset.samples(name))
    if not samples:
        raise FerkitError(f"the split {name} is empty: choose another of {', '.join(dataset.splits)}")
    _require_unique(samples, name)
    targets = class_targets(samples, recipe.labels, recipe.selection.drop_labels)
    if not len(targets):
        raise FerkitError(f"data.drop_labels leaves none of the {len(samples)} samples of the split {name}")
    return Judged(
        recipe.data.name,
        name,
        targets.samples,
        tuple(recipe.labels[index] for index in targets.classes.tolist()),
        dataset.is_crop,
        len(samples) - len(targets),
        samples_digest(targets.samples),
    )


def _require_unique(samples: Iterable[Sample], split: str) -> None:
    twice = [key for key, n in Counter(sample.id for sample in samples).items() if n > 1]
    if twice:
        raise FerkitError(f"the split {split} holds the id {twice[0]!r} more than once, and {len(twice) - 1} others")


def samples_digest(samples: Iterable[Sample]) -> str:
    """SHA-256 of ids, annotations, and of pictures that have no file."""
    found = hashlib.sha256()
    for sample in samples:
        picture = None if sample.image is None else hashlib.sha256(sample.image).hexdigest()
        known = [sample.id, sample.label, sample.votes, sample.box, sample.pose, sample.subject, sample.group, picture]
        found.update(json.dumps(known, sort_keys=True, default=str).encode())
    return found.hexdigest()


def warn_of_learnt(source: RecipeSource | Recipe, recipe: Recipe, data: Judged, registry: Registry | None) -> None:
    """Warn where a run is judged by the split it was learnt from."""
    if isinstance(source, Recipe) or not isinstance(source, str | Path) or not (Path(source) / "recipe.yaml").is_file():
        return
    own = load_recipe(source, registry=registry)
    if own.data is None or recipe.data is None or own.data.config != recipe.data.config:
        return
    learnt = (own.selection.split, "all") if own.selection.split == "train" else (own.selection.split,)
    chose = own.selection.validation
    if data.split in learnt:
        part = f", of which {chose:.0%} were held out to choose the epoch" if isinstance(chose, float) else ""
        warnings.warn(
            f"the run {source} was learnt from the split {data.split} of this data{part}: what is measured on it flatters",
            stacklevel=3,
        )
    elif data.split == chose:
        warnings.warn(
            f"the epoch that the run {source} kept was chosen by the split {data.split} of this data: what is measured on it "
            "flatters a little",
            stacklevel=3,
        )
