"""Faces through a normalizer, each asked for once: what it returned is kept, before anybody judges it."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ferkit.alignment import face_squares
from ferkit.cache import Cache, Picture, digest
from ferkit.components import map_texts, operational_fields, weight_fields
from ferkit.errors import ComponentError, StageError
from ferkit.interfaces import Context, CropEditor, Keyed, Normalizer, Sampler, Versioned
from ferkit.recipe import Part
from ferkit.recipe_model import Align, Normalization
from ferkit.stages import check_frontal, check_turned, guarded, stage
from ferkit.types import Faces, Frontal, ImageBatch
from ferkit.weights import Reference

ROOM = "turned"
FORMAT = 1  # of the entries, and of what ferkit.editing cuts out: another one asks for every face again
GROUP = 16
"""How many faces a normalizer gets at once: enough for one that batches or waits for a server, few to hold in memory."""
DECIMALS = 2  # of pixels and degrees in a key: a detector's last bits depend on the batch


@dataclass(frozen=True, eq=False)
class Turn:
    """One draw of one face.

    Attributes:
        frontal: What the normalizer returned, None where it could not.
        seconds: That took, when it was made.
        cached: Whether it was made before.
    """

    frontal: Frontal | None
    seconds: float
    cached: bool


UNTURNED = Turn(None, 0.0, cached=False)


class Turner:
    """A normalizer that is asked for nothing twice.

    None is its last word on a face and kept, too. What a :class:`ferkit.interfaces.Sampler` leaves out is not.

    Args:
        part: The normalizer in the recipe.
        normalizer: Itself, built.
        context: It was built in.
        normalization: How many draws, and whether they are kept.
        cache: Where.

    Raises:
        ComponentError: If more than one draw is wanted of a normalizer that has but one.
    """

    def __init__(
        self, part: Part, normalizer: Normalizer, context: Context, normalization: Normalization, cache: Cache
    ) -> None:
        self._samples = normalization.samples
        self._call = guarded(part, normalizer, Sequence, check_turned)
        self._part, self._sampler = part, normalizer if isinstance(normalizer, Sampler) else None
        if self._samples > 1 and self._sampler is None:
            raise ComponentError(
                f"normalizer.samples: {self._samples}: {part.name} turns a face in one way only, so there is nothing to "
                "choose from: set it to 1, or choose a normalizer that can draw again (ferkit.Sampler)"
            )
        keeps = normalization.cache
        self._cache = cache if (not part.registered.component.cheap if keeps is None else keeps) else None
        self._readers = ThreadPoolExecutor(min(GROUP, os.cpu_count() or 1))  # decoding is what a hit costs
        self._decided = fingerprint(part, normalizer, context) if self._cache else {}
        self._crop_margin = normalizer.crop_margin if isinstance(normalizer, CropEditor) else None

    def __call__(self, batch: ImageBatch, faces: Faces) -> Iterator[list[list[Turn]]]:
        """For each of ``faces`` all its draws, lazily, a group at a time; each is kept as soon as it is there."""
        pictures = _Pictures(batch, self._crop_margin)
        for start in range(0, len(faces), GROUP):
            group = faces.select(torch.arange(start, min(start + GROUP, len(faces))))
            contents = [pictures.face(group, face) for face in range(len(group))] if self._cache else []
            draws = [self._draw(batch, group, contents, sample) for sample in range(self._samples)]
            yield [list(turns) for turns in zip(*draws, strict=True)]

    def _draw(self, batch: ImageBatch, group: Faces, contents: Sequence[Any], sample: int) -> list[Turn]:
        """One draw of each face of a group."""
        if self._cache is None:
            made = dict(self._ask(batch, group, sample))
            return [made.get(face, UNTURNED) for face in range(len(group))]
        keys = [digest([self._decided, content, sample]) for content in contents]
        first = {key: keys.index(key) for key in keys}  # a face may be there twice
        found = self._readers.map(partial(self._cache.load_picture, ROOM), first)
        known = {key: _turn(picture) for key, picture in zip(first, found, strict=True) if picture is not None}
        missing = {key: face for key, face in first.items() if key not in known}
        if missing:
            owners = list(missing)
            for face, turn in self._ask(batch, group.select(torch.tensor(list(missing.values()))), sample):
                self._cache.save_picture(ROOM, owners[face], *_picture(turn))
                known[owners[face]] = turn
        return [known.get(key, UNTURNED) for key in keys]

    def _ask(self, batch: ImageBatch, faces: Faces, sample: int) -> Iterator[tuple[int, Turn]]:
        """What the normalizer makes of ``faces``, as it comes, with the index of each."""
        started = time.perf_counter()
        if self._sampler is None:
            results = self._call(batch, faces)
            seconds = (time.perf_counter() - started) / len(faces)
            yield from ((face, Turn(result, seconds, cached=False)) for face, result in enumerate(results))
            return
        waiting = set(range(len(faces)))
        with stage(self._part):
            for face, result in self._sampler.sampled(batch, faces, sample):
                if face not in waiting:
                    raise StageError(f"was given {len(faces)} faces and returned the face {face!r}, or that one twice")
                waiting.remove(face)
                check_frontal(result)
                yield face, Turn(result, time.perf_counter() - started, cached=False)
                started = time.perf_counter()


def fingerprint(part: Part, normalizer: Normalizer, context: Context) -> dict[str, Any]:
    """What of a normalizer decides its results; neither labels nor options that change no pixel are among it."""
    return {
        "format": FORMAT,
        "normalizer": part.registered.qualified,
        "distribution": part.registered.version,
        "version": normalizer.version if isinstance(normalizer, Versioned) else None,
        "seed": context.seed,
        "dtype": str(context.dtype),
        **({"decided": normalizer.cache_key} if isinstance(normalizer, Keyed) else _as_written(part, context)),
    }


def _as_written(part: Part, context: Context) -> dict[str, Any]:
    """A part's options as the recipe gives them, and its weights' digests."""
    options = part.config.model_dump(mode="json", exclude=set(operational_fields(type(part.config))))
    digests = {str(reference): context.weights.digest(reference) for reference in part.weights}

    def content(text: str) -> str:  # wherever the file lies
        return digests.get(str(Reference.parse(text, library=True)), text)

    for name in weight_fields(type(part.config)):
        options[name] = map_texts(options[name], content)
    return {"options": options, "weights": sorted(digests.values())}


class _Pictures:
    """What of a batch's pictures and faces a normalizer is given; each picture is digested once, if at all."""

    def __init__(self, batch: ImageBatch, crop_margin: float | None) -> None:
        self._batch, self._crop_margin = batch, crop_margin
        self._digests: dict[int, str] = {}

    def face(self, faces: Faces, face: int) -> list[object]:
        """Plain data that tells a face from every other, in the eyes of this normalizer."""
        if self._crop_margin is not None:
            square = face_squares(faces.select(torch.tensor([face])), Align(method="box", margin=self._crop_margin))
            return [self._digest(int(faces.image_index[face])), _rounded(square)]
        points = {scheme: values[face] for scheme, values in sorted(faces.landmarks.items())}
        return [
            self._digest(int(faces.image_index[face])),
            _rounded(faces.boxes[face]),
            {scheme: _rounded(values) for scheme, values in points.items() if not bool(torch.isnan(values).all())},
            _rounded(faces.pose[face]),
            bool(faces.is_crop[face]),
        ]

    def _digest(self, index: int) -> str:
        if index not in self._digests:
            image = self._batch.images[index].contiguous()
            self._digests[index] = f"{list(image.shape)} {hashlib.sha256(image.numpy().data).hexdigest()}"
        return self._digests[index]


def _rounded(values: Tensor) -> Any:
    return (values.double().round(decimals=DECIMALS) + 0.0).tolist()  # + 0.0: no -0.0


def _picture(turn: Turn) -> Picture:
    """A draw as it is kept."""
    note = {"seconds": round(turn.seconds, 3), "made": datetime.now(UTC).isoformat(timespec="seconds")}
    if turn.frontal is None:
        return None, {**note, "failed": True}
    points = turn.frontal.landmarks
    box = turn.frontal.box
    known = {
        "landmarks": None if points is None else points.tolist(),
        "score": turn.frontal.score,
        "box": None if box is None else box.tolist(),
    }
    return turn.frontal.image.cpu(), {**note, **known}


def _turn(found: Picture) -> Turn:
    """A draw from what was kept of it."""
    image, note = found
    if image is None:
        return Turn(None, note["seconds"], cached=True)
    points, box = (None if note[name] is None else torch.tensor(note[name]) for name in ("landmarks", "box"))
    return Turn(Frontal(image, points, note["score"], box), note["seconds"], cached=True)
