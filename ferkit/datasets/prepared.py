"""Samples as views: what training and evaluation start from, computed once and kept in the cache."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ferkit.cache import Cache, Entry, digest
from ferkit.datasets.shards import Shards
from ferkit.decisions import decision
from ferkit.errors import FerkitError, ImageError
from ferkit.images import decode
from ferkit.interfaces import Context, Sample
from ferkit.preparation import Preparation, view_digest
from ferkit.recipe import Recipe
from ferkit.types import ALIGNED, FRONTAL, Faces, FaceViews, ImageBatch
from ferkit.weights import sha256

SHARD, BATCH = 256, 16  # samples a cache entry; pictures held at once
FAR = 10  # sides of the picture by which no annotated box lies beyond it
OVERLAP = 0.4  # intersection over union from which a detected face is the annotated one
ROOM = "views"
NAMES = (ALIGNED, FRONTAL)
Box = tuple[float, float, float, float]
COLUMNS = ("boxes", "scores", "pose", "pose_score", "count", "pixels", "view", "failed")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Views of N samples' faces.

    Attributes:
        samples: The samples.
        faces: One face a sample, with pose; NaN where none was found.
        found: bool ``[N]``: whether the sample's face was found.
        decisions: What the recipe's normalizer made of each face (:mod:`ferkit.decisions`); None without one or the other.
        errors: Why a picture could not be read, by the sample's id.
        shards: Views of at least these samples.
        keys: Of every :data:`SHARD` samples in ``shards``, the digest of what decides their views.
        places: Where these samples are in ``shards``.
    """

    samples: tuple[Sample, ...]
    faces: Faces
    found: Tensor
    decisions: tuple[str | None, ...]
    errors: dict[str, str]
    shards: Shards
    keys: tuple[str, ...]
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def views(self, index: Sequence[int]) -> FaceViews:
        """Views of the samples at ``index``; ``face_index`` counts along ``index``. A face not found has none."""
        places, rows = [self.places[item] for item in index], self.shards.rows
        return FaceViews(
            rows(places, "pixels").float().div(255),
            self.shards.owners(places),
            tuple(NAMES[kind] for kind in rows(places, "view").tolist()),
            rows(places, "failed"),
        )

    def select(self, index: Sequence[int]) -> "Prepared":
        """The samples at ``index``, in that order."""
        rows = torch.tensor(index, dtype=torch.int64)
        return replace(
            self,
            samples=tuple(self.samples[item] for item in index),
            faces=self.faces.select(rows),
            found=self.found[rows],
            decisions=tuple(self.decisions[item] for item in index),
            places=tuple(self.places[item] for item in index),
        )

    def fingerprint(self, index: Sequence[int]) -> list[object]:
        """What decides the views of the samples at ``index``."""
        return [[self.keys[place // SHARD], place % SHARD] for place in (self.places[item] for item in index)]


def prepare(
    samples: Sequence[Sample],
    is_crop: bool,
    recipe: Recipe,
    context: Context,
    cache: Cache,
    advance: Callable[[int], None] = lambda _: None,
) -> Prepared:
    """Pass samples through detector, pose, alignment and normalizer, or take what the cache holds of that.

    A cropped picture is its face; the detector is asked for its pose only, where the pose estimator does not tell that
    (:mod:`ferkit.crop_pose`). In a scene, the face that the recipe's detector finds is the
    annotated one from an overlap (IoU) of 0.4; without an annotated box the largest face is taken.

    Args:
        samples: What to prepare.
        is_crop: Whether their pictures are cropped to the face.
        recipe: Names the components.
        context: Where they are built, if anything is left to do.
        cache: Where views are kept, a shard at a time: an interrupted run goes on from there.
        advance: Told the number of samples after every shard.

    Raises:
        FerkitError: If there is no sample, or a box lies far beyond its picture.
    """
    pieces, keys, errors, decisions = [], [], {}, []
    decided = view_digest(recipe, context)
    preparation = functools.cache(lambda: Preparation(recipe, context, cache))
    for start in range(0, len(samples), SHARD):
        chunk = samples[start : start + SHARD]
        key = digest([decided, is_crop, [_fingerprint(sample) for sample in chunk]])
        tensors, metadata = cache.get(
            ROOM, key, functools.partial(_shard, chunk, is_crop, preparation), (*COLUMNS, "errors", "decisions")
        )
        pieces.append(tensors)
        keys.append(key)
        decisions += json.loads(metadata["decisions"])
        errors.update({chunk[int(index)].id: text for index, text in json.loads(metadata["errors"]).items()})
        advance(len(chunk))
    if not pieces:
        raise FerkitError("there is no sample to prepare")
    shards = Shards(pieces)
    column = shards.column
    faces = Faces.of(
        range(len(samples)),
        column("boxes"),
        scores=column("scores"),
        pose=column("pose"),
        pose_score=column("pose_score"),
        is_crop=torch.full((len(samples),), is_crop),
    )
    found, places = column("count") > 0, tuple(range(len(samples)))
    return Prepared(tuple(samples), faces, found, tuple(decisions), errors, shards, tuple(keys), places)


def _fingerprint(sample: Sample) -> list[object]:
    """What of a sample decides its views: the picture's content and the annotations."""
    if sample.image is not None:
        content = hashlib.sha256(sample.image).hexdigest()
    else:
        try:
            content = sha256(Path(sample.source))
        except OSError as error:
            content = f"unreadable: {error}"
    landmarks = {scheme: torch.as_tensor(points).tolist() for scheme, points in (sample.landmarks or {}).items()}
    return [content, sample.box, landmarks]


def _shard(samples: Sequence[Sample], is_crop: bool, preparation: Callable[[], Preparation]) -> Entry:
    """Tensors and metadata of some samples' views."""
    errors: dict[int, str] = {}
    decisions: list[str | None] = [None] * len(samples)
    columns: dict[str, list[Tensor]] = {}
    for start in range(0, len(samples), BATCH):
        readable: list[tuple[int, Tensor]] = []
        span = range(start, min(start + BATCH, len(samples)))
        for index in span:
            try:
                readable.append((index, decode(samples[index].picture)))
            except ImageError as error:
                errors[index] = str(error)
        with torch.no_grad():
            rows, made = _rows(samples, readable, span, is_crop, preparation())
        for name, values in rows.items():
            columns.setdefault(name, []).append(values)
        for place, text in made.items():
            decisions[span.start + place] = text
    tensors = {name: torch.cat(values) for name, values in columns.items()}
    return tensors, {"errors": json.dumps(errors), "decisions": json.dumps(decisions)}


def _rows(
    samples: Sequence[Sample],
    readable: Sequence[tuple[int, Tensor]],
    span: range,
    is_crop: bool,
    preparation: Preparation,
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Columns of one batch, a row a sample of ``span`` and a row a view; and by row what the normalizer made of its face."""
    given = tuple(annotated(samples[index], image, is_crop) for index, image in readable)
    batch = ImageBatch(
        tuple(image for _, image in readable), tuple(samples[index].source for index, _ in readable), given
    )
    if not readable:
        faces = Faces.none()
    elif is_crop:
        faces = preparation.crops(
            batch, Faces.concat([replace(f, image_index=f.image_index + i) for i, f in enumerate(given)])
        )
    else:
        boxes = [(place, samples[index].box) for place, (index, _) in enumerate(readable)]
        detected = preparation.faces(batch)
        faces = detected.select(torch.tensor([face for face in matched(detected, boxes) if face is not None]).long())
    views, flags = preparation.views(batch, faces)
    place = torch.tensor([readable[int(image)][0] - span.start for image in faces.image_index], dtype=torch.int64)

    def scattered(values: Tensor) -> Tensor:
        out = torch.full((len(span), *values.shape[1:]), torch.nan)
        out[place] = values
        return out

    columns = {
        "boxes": scattered(faces.boxes),
        "scores": scattered(faces.scores),
        "pose": scattered(faces.pose),
        "pose_score": scattered(faces.pose_score),
        "count": torch.bincount(place[views.face_index], minlength=len(span)),
        "pixels": views.pixels.mul(255).round().to(torch.uint8),
        "view": torch.tensor([NAMES.index(name) for name in views.view], dtype=torch.uint8),
        "failed": views.failed,
    }
    return columns, dict(zip(place.tolist(), map(decision, flags), strict=True)) if preparation.turns else {}


def annotated(sample: Sample, image: Tensor, is_crop: bool) -> Faces:
    """What a recipe is given of a picture's face; none where it is a scene without a box.

    A pose that the data set knows is not in it: that is the truth a recipe is judged by, and what is turned goes by its own
    estimate, as in any other picture.
    """
    height, width = image.shape[1:]
    box = (0.0, 0.0, float(width), float(height)) if is_crop else sample.box
    if box is None:
        return Faces.none()
    if fault := box_fault(box, width, height):
        raise FerkitError(f"{sample.id}: {fault}: correct the data, in pixels of its picture {sample.source}")
    landmarks = {scheme: torch.as_tensor(points)[None] for scheme, points in (sample.landmarks or {}).items()}
    return Faces.of([0], [box], landmarks=landmarks, is_crop=is_crop)


def box_fault(box: Box, width: int, height: int) -> str:
    """Why a box can't be one of a face in a picture; empty: it can."""
    if max(map(abs, (box[0], box[2]))) <= FAR * width and max(map(abs, (box[1], box[3]))) <= FAR * height:
        return ""
    return (
        f"the box {' '.join(f'{corner:g}' for corner in box)} lies far beyond its picture of {width} x {height} pixels"
    )


def matched(faces: Faces, wanted: Sequence[tuple[int, Box | None]]) -> list[int | None]:
    """Which of ``faces`` is each of the annotated ones, given by picture and box: None where none overlaps enough.

    Without a box it is the largest of the picture's.
    """
    chosen: list[int | None] = []
    for image, box in wanted:
        own = torch.nonzero(faces.image_index == image).flatten()
        if len(own) and box is not None:
            overlap = box_iou(faces.boxes[own], torch.tensor([box])).flatten()
            own = own[overlap.argmax()[None]] if float(overlap.max()) >= OVERLAP else own[:0]
        chosen.append(int(own[0]) if len(own) else None)
    return chosen
