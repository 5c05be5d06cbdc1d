"""Faces of a data set shown in known poses: what ``ferkit data pose-augment`` writes."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ferkit.cache import Cache
from ferkit.datasets.manifest import VOTES
from ferkit.datasets.names import check_split
from ferkit.datasets.naming import Data, recipe_with_data
from ferkit.errors import FerkitError
from ferkit.evaluation.data import samples_digest
from ferkit.evaluation.locating import Located, Pictures, Rows, locate, records
from ferkit.interfaces import Context, Dataset, PosedFace, Poser, Sample
from ferkit.journal import NO_FACE, Journal, Record, plain
from ferkit.missing_weights import require_weights
from ferkit.normalizing import require_normalizer
from ferkit.pipelines import find_device
from ferkit.preparation import Preparation, prepared_parts, view_digest
from ferkit.progress import progress
from ferkit.recipe import RecipeSource
from ferkit.registry import Registry
from ferkit.stages import build
from ferkit.types import Pose
from ferkit.weights import WeightsStore
from ferkit.writers import make_folder, replacing, write_csv

MANIFEST, JOURNAL, PICTURES = "manifest.csv", "pose-augment.partial.jsonl", "images"
COLUMNS = ("id", "image", "label", "x0", "y0", "x1", "y1", *Pose._fields, "subject", "group", "split")
BOX = COLUMNS[3:7]
SYNC, BATCH = 256, 16  # records after which the disk is told to write; faces done at once
NO_POSE, TURNED, IMPOSSIBLE = "no_pose", "turned", "not_posed"
Axis = tuple[float, ...]


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
        for name, values, most in (("yaw", self.yaw, 90), ("pitch", self.pitch, 60), ("roll", self.roll, 180)):
            if not values or not all(isfinite(value) and abs(value) <= most for value in values):
                raise FerkitError(f"{name} {values}: give angles in degrees between -{most} and {most}")

    def of(self, name: str) -> list[tuple[Pose, int]]:
        """Poses of the sample ``name``, each with a seed of its own."""
        digests = (hashlib.sha256(f"{self.seed} {name} {index}".encode()).digest() for index in range(10**9))
        if self.copies is None:
            fixed = (Pose(*angles) for angles in product(self.yaw, self.pitch, self.roll))
            return [(pose, _number(digest)) for pose, digest in zip(fixed, digests, strict=False)]
        found = []
        for _, digest in zip(range(self.copies), digests, strict=False):
            drawn = np.random.default_rng(_number(digest))
            angles = (float(drawn.uniform(min(axis), max(axis))) for axis in (self.yaw, self.pitch, self.roll))
            found.append((Pose(*angles), _number(digest)))
        return found


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:7])


def pose_augment(
    data: Data | None,
    out: Path,
    poses: Poses,
    recipe: RecipeSource = "frontal",
    overrides: Mapping[str, Any] | None = None,
    *,
    splits: Sequence[str] | None = None,
    size: int = 112,
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
        data: ``"name:path"`` of a data set, or a recipe's ``data`` as a mapping; None: what the recipe has.
        out: Folder for pictures and ``manifest.csv``; the same call goes on in it.
        poses: Which.
        recipe: Whose detector, pose estimator and normalizer, a :class:`ferkit.interfaces.Poser`, do it.
        overrides: Nested or dotted keys on top of the recipe.
        splits: Of the data set; None: all.
        size: Side of the pictures in pixels.
        max_yaw: Faces turned further than that are left out: the camera did not see what is to be shown.
        originals: Whether the manifest names the samples themselves, too, also those left out.
        device: Where to compute.
        overwrite: Whether what is in ``out`` is replaced.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        shows: Whether a bar is drawn on stderr; None: if that is a terminal.

    Returns:
        How many ``samples`` there are, ``copies`` were made, and samples were left out, by reason: ``no_face``, ``no_pose``,
        ``turned``, ``not_posed``, ``unreadable``; and whether pictures are crops of faces.

    Raises:
        FerkitError: If the normalizer is no poser, a split is not there, an id is there twice, or ``out`` holds something else.
    """
    loaded = recipe_with_data(recipe, data, overrides, registry)
    require_normalizer(loaded)
    if loaded.data is None:
        raise FerkitError("there is nothing to show: name a data set, NAME:PATH, or the recipe's `data:`")
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
    dataset: Dataset = build(loaded.data, context)
    for split in splits or ():
        check_split(split, dataset.splits, loaded.data.name)
    preparation = Preparation(loaded, context, Cache())
    work = _Work(dataset, splits or dataset.splits, preparation, poser, poses, size, max_yaw, originals)
    made_by = {"recipe_digest": view_digest(loaded, context), "normalizer_version": preparation.normalizer_version}
    return work(out, made_by, overwrite=overwrite, shows=shows), dataset.is_crop


@dataclass(frozen=True)
class _Work:
    """Samples on their way into a folder; its parts are what :func:`pose_augment` is given."""

    dataset: Dataset
    splits: Sequence[str]
    preparation: Preparation
    poser: Poser
    poses: Poses
    size: int
    max_yaw: float
    originals: bool

    def __call__(self, folder: Path, made_by: dict[str, Any], *, overwrite: bool, shows: bool | None) -> Counter[str]:
        """Write ``folder``, or go on with it; count. ``made_by`` is what beside this object decides the pictures."""
        samples = [(split, sample) for split in self.splits for sample in self.dataset.samples(split)]
        _require_unique([sample.id for _, sample in samples])
        header = {
            **made_by,
            "data": samples_digest(sample for _, sample in samples),
            "poses": [list(self.poses.yaw), list(self.poses.pitch), list(self.poses.roll)],
            "options": [self.poses.copies, self.poses.vary, self.poses.seed, self.size, self.max_yaw],
        }
        if (folder / MANIFEST).exists() and not overwrite and not (folder / JOURNAL).exists():
            raise FerkitError(f"{folder / MANIFEST} exists: add --overwrite to replace it, or choose another folder")
        make_folder(folder, "--out")
        with Journal(folder / JOURNAL) as journal:
            journal.begin(plain(header), overwrite=overwrite)
            self._work(samples, folder, journal, shows)
            count = self._finish(samples, folder, journal)
            journal.finish()
        return count

    def _work(self, samples: Sequence[tuple[str, Sample]], folder: Path, journal: Journal, shows: bool | None) -> None:
        """Pose every sample that is not in the journal yet."""
        stems = {sample.id: f"{PICTURES}/{split}/{index:06d}" for index, (split, sample) in enumerate(samples)}
        for split in self.splits:
            (folder / PICTURES / split).mkdir(parents=True, exist_ok=True)
        rest = [sample for _, sample in samples if not journal.done(sample.id, sample.source)]
        worked = records(iter(rest), BATCH, lambda chunk, pictures: self._rows(chunk, pictures, folder, stems))
        for index, record in enumerate(progress(worked, len(rest), shows), 1):
            journal.append(record)
            if index % SYNC == 0:
                journal.sync()

    @torch.inference_mode()
    def _rows(self, samples: Sequence[Sample], pictures: Pictures, folder: Path, stems: dict[str, str]) -> Rows:
        """What was made of the samples whose face was found; the pictures are there before."""
        blind = [replace(sample, pose=None) for sample in samples]  # the landmarks are wanted, too
        located = locate(blind, pictures, self.preparation, self.dataset.is_crop)
        rows: Rows = {}
        wanted: list[tuple[int, Pose, int]] = []
        for index, (sample, pose) in enumerate(zip(located.samples, located.faces.pose.tolist(), strict=True)):
            reason = NO_POSE if not isfinite(pose[0]) else TURNED if abs(pose[0]) > self.max_yaw else ""
            rows[sample.id] = {"source": sample.id, "reason": reason, "made": []}
            if not reason:
                wanted += [(index, pose, seed) for pose, seed in self.poses.of(sample.id)]
        for (index, pose, _), face in zip(wanted, self._posed(located, wanted), strict=True):
            name = located.samples[index].id
            made = rows[name]["made"]
            if face is None:
                rows[name]["reason"] = IMPOSSIBLE
                continue
            picture = f"{stems[name]}-{len(made)}.png"
            _write(folder / picture, face.image)
            made.append({"image": picture, **pose._asdict(), **dict(zip(BOX, face.box, strict=True))})
        return rows

    def _posed(self, located: Located, wanted: Sequence[tuple[int, Pose, int]]) -> Sequence[PosedFace | None]:
        if not wanted:
            return []
        faces = located.faces.select(torch.tensor([index for index, _, _ in wanted]))
        pose = torch.tensor([pose for _, pose, _ in wanted])
        seeds = [seed for _, _, seed in wanted] if self.poses.vary else None
        return self.poser.posed(located.batch, faces, pose, self.size, seeds)

    def _finish(self, samples: Sequence[tuple[str, Sample]], folder: Path, journal: Journal) -> Counter[str]:
        """Write the manifest; count."""
        count, rows = Counter[str](), []
        for index, (split, sample) in enumerate(samples):
            record = journal.record(sample.id)
            known = _known(split, sample)
            count["samples"] += 1
            if self.originals and not record.failed:
                rows.append(known | self._original(sample, folder, index))
            if reason := _reason(record):
                count[reason] += 1
            for number, made in enumerate(record.rows[0]["made"] if record.rows else ()):
                count["copies"] += 1
                rows.append({**known, **made, "id": f"{sample.id}@{number}"})
        if not rows:
            raise FerkitError(
                f"none of {len(samples)} faces could be posed: {', '.join(f'{n} {why}' for why, n in count.items())}"
            )
        votes = sorted({name for row in rows for name in row if name.startswith(VOTES)})
        boxes = () if self.dataset.is_crop else BOX
        names = [name for name in COLUMNS if name not in BOX or name in boxes]
        with replacing(folder / MANIFEST) as path:
            write_csv(path, rows, [*names, *votes])
        return count

    def _original(self, sample: Sample, folder: Path, index: int) -> dict[str, Any]:
        """What the manifest says of the sample itself; a picture that has no file gets one."""
        known: dict[str, Any] = {"id": sample.id, "image": str(Path(sample.source).absolute())}
        if sample.image is not None:
            known["image"] = f"{PICTURES}/{index:06d}.png"
            with Image.open(io.BytesIO(sample.image)) as opened, replacing(folder / known["image"]) as path:
                opened.save(path, "PNG")
        if sample.box:
            known |= dict(zip(BOX, sample.box, strict=True))
        if sample.pose:
            known |= {name: angle for name, angle in zip(Pose._fields, sample.pose, strict=True) if isfinite(angle)}
        return known


def _known(split: str, sample: Sample) -> dict[str, Any]:
    """What a sample and its copies share. All copies of a face are one group, so that intervals count faces."""
    votes = {f"{VOTES}{label}": share for label, share in (sample.votes or {}).items()}
    group = sample.group or sample.id
    return {"label": sample.label, "subject": sample.subject, "group": group, "split": split, **votes}


def _reason(record: Record) -> str:
    """Why a sample was left out, empty where it was not."""
    if record.rows:
        return str(record.rows[0]["reason"])
    return NO_FACE if record.error and record.error[0] == NO_FACE else "unreadable"


def _write(path: Path, image: Tensor) -> None:
    """Write a picture without loss, grey if it is."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    grey = bool((pixels == pixels[..., :1]).all())
    with replacing(path) as temporary:
        Image.fromarray(pixels[..., 0] if grey else pixels).save(temporary, "PNG")


def _require_unique(ids: Sequence[str]) -> None:
    if twice := [name for name, n in Counter(ids).items() if n > 1]:
        raise FerkitError(
            f"the data holds the id {twice[0]!r} more than once, and {len(twice) - 1} others: name a split"
        )
