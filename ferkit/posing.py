"""Faces of a data set shown in known poses: what ``ferkit data pose-augment`` makes."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ferkit.cache import Cache
from ferkit.datasets.names import check_split
from ferkit.datasets.naming import Data, recipe_with_data
from ferkit.errors import FerkitError
from ferkit.interfaces import Context, Dataset, Poser
from ferkit.missing_weights import require_weights
from ferkit.normalizing import require_normalizer
from ferkit.pipelines import find_device
from ferkit.posed_set import PosedSet
from ferkit.preparation import Preparation, prepared_parts, view_digest
from ferkit.recipe import Recipe, RecipeSource
from ferkit.registry import Registry
from ferkit.stages import build
from ferkit.types import Pose
from ferkit.weights import WeightsStore

Axis = tuple[float, ...]
MOST = {"yaw": 90, "pitch": 60, "roll": 180}
"""The largest angles that can be asked for, in degrees."""
SIDES = {True: 112, False: 224}
"""Side of the pictures in pixels, of crops and of faces in scenes."""


@dataclass(frozen=True)
class Poses:
    """The poses each face is shown in, in degrees.

    Attributes:
        yaw: Every one of these …
        pitch: … with every one of these …
        roll: … and of these. With ``copies``, all lie at random between the least and the greatest.
        copies: How many random poses each face is shown in; None: all combinations.
        vary: Whether background, light, camera and place vary, too.
        seed: Of all that is random; a face and its number decide the rest.

    Raises:
        FerkitError: If an angle is no pose that can be shown.
    """

    yaw: Axis
    pitch: Axis = (0.0,)
    roll: Axis = (0.0,)
    copies: int | None = None
    vary: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("yaw", self.yaw), ("pitch", self.pitch), ("roll", self.roll)):
            if not values or not all(isfinite(value) and abs(value) <= MOST[name] for value in values):
                raise FerkitError(
                    f"{name} {_told(values)}: give angles in degrees between -{MOST[name]} and {MOST[name]}"
                )
            if self.copies is None and len(set(values)) < len(values):
                raise FerkitError(
                    f"{name} {_told(values)}: an angle is there twice, and its pictures would count twice"
                )

        if (
            self.copies
            and self.copies > 1
            and not self.vary
            and all(len(set(v)) == 1 for v in (self.yaw, self.pitch, self.roll))
        ):
            raise FerkitError(
                f"{self.copies} copies of each face in one pose would be the same picture: give two angles between which the "
                "poses lie, or vary"
            )

    def __len__(self) -> int:
        return self.copies or len(self.yaw) * len(self.pitch) * len(self.roll)

    def of(self, name: str) -> list[tuple[Pose, int]]:
        """Poses of the sample ``name``, each with a seed of its own."""
        seeds = [_number(f"{self.seed} {name} {index}") for index in range(len(self))]
        axes = (self.yaw, self.pitch, self.roll)
        if self.copies is None:
            return [(Pose(*angles), seed) for angles, seed in zip(product(*axes), seeds, strict=True)]
        found = []
        for seed in seeds:
            drawn = np.random.default_rng(seed)
            found.append((Pose(*(float(drawn.uniform(min(axis), max(axis))) for axis in axes)), seed))
        return found


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def pose_augment(
    data: Data | Dataset | None,
    out: Path,
    poses: Poses,
    recipe: RecipeSource = "frontal",
    overrides: Mapping[str, Any] | None = None,
    *,
    splits: Sequence[str] | None = None,
    plain: Sequence[str] = (),
    size: int | None = None,
    max_yaw: float = 30,
    originals: bool = False,
    device: str = "cpu",
    overwrite: bool = False,
    registry: Registry | None = None,
    download: bool = False,
    shows: bool | None = None,
) -> tuple[Counter[str], bool]:
    """Show the faces of a data set in known poses.

    Args:
        data: ``"name:path"`` of a data set, a recipe's ``data`` as a mapping, or a data set; None: what the recipe has.
        out: Folder for pictures and ``manifest.csv``; the same call goes on in it.
        poses: Which.
        recipe: Whose detector, pose estimator and normalizer, a :class:`ferkit.interfaces.Poser`, do it.
        overrides: Nested or dotted keys on top of the recipe.
        splits: Of the data set; None: all.
        plain: Further splits, whose samples the manifest only names, as they are.
        size: Side of the pictures in pixels; None: 112 of crops, 224 of faces in scenes, which fill half of it.
        max_yaw: Faces turned further than that are left out: the camera did not see what is to be shown.
        originals: Whether the manifest names the samples themselves, too, also those left out.
        device: Where to compute.
        overwrite: Whether what is in ``out`` is replaced.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        shows: Whether a bar is drawn on stderr; None: if that is a terminal.

    Returns:
        How many ``samples`` were to be shown, ``faces`` were, ``copies`` were made, and how many samples were left out, by
        reason: ``no_face``, ``no_pose``, ``turned``, ``not_posed``, ``unreadable``; and whether pictures are crops of faces.

    Raises:
        FerkitError: If the normalizer is no poser, a split is not there, an id would be there twice, no face could be posed, or
            ``out`` holds something else, or is where the data set is read from.
    """
    if not 0 <= max_yaw <= MOST["yaw"]:
        raise FerkitError(f"max_yaw {max_yaw}: give an angle in degrees between 0 and {MOST['yaw']}")
    held, named = (data, None) if isinstance(data, Dataset) else (None, data)
    loaded = recipe_with_data(recipe, named, overrides, registry)
    require_normalizer(loaded)
    assert loaded.normalizer is not None
    weights = WeightsStore(download)
    require_weights(loaded, weights, prepared_parts(loaded))
    context = Context(find_device(device), torch.float32, loaded.framework.seed, loaded.labels, weights)
    poser = build(loaded.normalizer, context)
    if not isinstance(poser, Poser):
        raise FerkitError(
            f"the normalizer {loaded.normalizer.name} only turns faces frontal: choose one that shows them in any pose, such as "
            "mesh-frontal"
        )
    dataset = held or _dataset(loaded, context)
    shown = tuple(dict.fromkeys(splits or dataset.splits))
    for split in (*shown, *plain):
        check_split(split, dataset.splits, "the data")
    preparation = Preparation(loaded, context, Cache())
    side = size or SIDES[dataset.is_crop]
    work = PosedSet(
        samples=[(split, sample) for split in shown for sample in dataset.samples(split)],
        plain=[(split, sample) for split in plain for sample in dataset.samples(split)],
        is_crop=dataset.is_crop,
        preparation=preparation,
        part=loaded.normalizer,
        poser=poser,
        poses=poses.of,
        vary=poses.vary,
        size=side,
        max_yaw=max_yaw,
        originals=originals,
    )
    made_by = {
        "recipe_digest": view_digest(loaded, context),
        "normalizer_version": preparation.normalizer_version,
        "poses": [list(poses.yaw), list(poses.pitch), list(poses.roll), poses.copies, poses.vary, poses.seed],
        "options": [side, max_yaw, dataset.is_crop],
    }
    _require_apart(out, getattr(loaded.data.config, "path", None) if loaded.data and not held else None, work)
    return work(out, made_by, overwrite=overwrite, shows=shows), dataset.is_crop


def _require_apart(out: Path, data: str | Path | None, work: PosedSet) -> None:
    """Check that what is made neither replaces a data set nor is found in it the next time."""
    own = _real(out)
    folders = {str(Path(sample.source).parent) for _, sample in (*work.samples, *work.plain)}
    reads = [_real(path) for path in (*folders, *([data] if data else ()))]
    if any(own == read or own in read.parents for read in reads) or (data and _real(data) in own.parents):
        raise FerkitError(f"--out {out}: the data set is read from there: choose another folder")


def _told(values: Axis) -> str:
    return ",".join(f"{value:g}" for value in values)


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))


def _dataset(recipe: Recipe, context: Context) -> Dataset:
    if recipe.data is None:
        raise FerkitError("there is nothing to show: name a data set, NAME:PATH, or the recipe's `data:`")
    found: Dataset = build(recipe.data, context)
    return found
