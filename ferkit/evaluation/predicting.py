"""Samples through a pipeline: for each what was predicted of its face, or why nothing was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from ferkit.datasets.prepared import annotated, matched
from ferkit.errors import ImageError
from ferkit.evaluation.pose import pose_of
from ferkit.images import decode
from ferkit.interfaces import Sample
from ferkit.journal import NO_FACE, Mark, Record, mark, plain
from ferkit.pipelines import Pipeline, told_flags
from ferkit.types import Faces, ImageBatch, ImageInfo, Predictions

Pictures = dict[str | bytes, Tensor]
"""Decoded pictures by path or content."""


@dataclass(frozen=True)
class Predictor:
    """A pipeline at work on annotated faces.

    A cropped picture is its face, no detector is asked. In a scene the face that the detector finds is the annotated one from
    an overlap (IoU) of 0.4; without an annotated box it is the largest. ``on_no_face`` has no say: a face that is not found
    is missed.

    Attributes:
        pipeline: Predicts.
        is_crop: Whether pictures are cropped to the face.
        batch_size: Samples done at once.
    """

    pipeline: Pipeline
    is_crop: bool
    batch_size: int

    def __call__(self, samples: Iterator[Sample]) -> Iterator[Record]:
        """One record a sample, called by its id, in order, lazily, with a row of ``ferkit predict`` and ``pose_from``."""
        while chunk := list(islice(samples, self.batch_size)):
            marks = [mark(sample.source) for sample in chunk]
            yield from self._records(chunk, marks)

    def _records(self, samples: Sequence[Sample], marks: Sequence[Mark | None]) -> Iterator[Record]:
        pictures, errors = _decoded(samples)
        rows = self._rows([sample for sample in samples if sample.picture not in errors], pictures)
        for sample, seen in zip(samples, marks, strict=True):
            error = errors.get(sample.picture)
            if error is not None:
                yield Record(sample.id, seen, [], (error.kind, str(error)))
            elif sample.id in rows:
                yield Record(sample.id, seen, [rows[sample.id]])
            else:
                yield Record(sample.id, seen, [], (NO_FACE, "no face was found"))

    def _rows(self, samples: Sequence[Sample], pictures: Pictures) -> dict[str, dict[str, object]]:
        """A row of each face that was found, by its sample's id."""
        if not samples:
            return {}
        place = {picture: index for index, picture in enumerate(pictures)}
        images = [place[sample.picture] for sample in samples]
        known = [annotated(sample, pictures[sample.picture], self.is_crop) for sample in samples]
        pairs = list(zip(known, images, strict=True))
        sources = {sample.picture: sample.source for sample in samples}
        batch = ImageBatch(
            tuple(pictures.values()),
            tuple(sources[picture] for picture in pictures),
            tuple(Faces.concat(face for face, image in pairs if image == index) for index in place.values()),
        )
        if self.is_crop:
            crops = Faces.concat(replace(face, image_index=face.image_index + image) for face, image in pairs)
            faces = self.pipeline.crops(batch, crops)
            found = _Found(samples, faces, torch.zeros(len(faces), dtype=torch.bool), [0] * len(faces))
        else:
            found = _find(samples, images, self.pipeline.faces(batch))
        predictions = self._predictions(batch, found)
        pose, origin = pose_of(found.samples, found.faces)
        rows = {}
        for sample, number, row, angles, told in zip(
            found.samples, found.numbers, predictions.to_dicts(), pose.tolist(), origin, strict=True
        ):
            own = dict(zip(("yaw", "pitch", "roll"), angles, strict=True))
            rows[sample.id] = plain({**row, **own, "source": sample.id, "face": number, "pose_from": told})
        return rows

    def _predictions(self, batch: ImageBatch, located: "_Found") -> Predictions:
        """What the pipeline makes of faces."""
        fer, faces = self.pipeline, located.faces
        with torch.inference_mode():
            views, turned = fer.views(batch, faces)
            found = fer.probabilities(fer.features(views), faces)
        low = fer.recipe.framework.low_confidence
        whole = faces.is_crop
        flags = [
            (*own, *more)
            for own, more in zip(told_flags(faces, found, located.several, whole, low), turned, strict=True)
        ]
        infos = tuple(ImageInfo(source) for source in batch.sources)
        return Predictions(fer.recipe.labels, found, faces, tuple(flags), infos)


@dataclass(frozen=True, eq=False)
class _Found:
    """Annotated faces that were found: their samples, whether their picture holds others, and their number in it."""

    samples: Sequence[Sample]
    faces: Faces
    several: Tensor
    numbers: list[int]


def _find(samples: Sequence[Sample], images: Sequence[int], detected: Faces) -> _Found:
    """Those of ``samples``, whose pictures are ``images``, that are among the faces ``detected``."""
    chosen = matched(detected, [(image, sample.box) for image, sample in zip(images, samples, strict=True)])
    pairs = [(sample, face) for sample, face in zip(samples, chosen, strict=True) if face is not None]
    faces = detected.select(torch.tensor([face for _, face in pairs], dtype=torch.int64))
    counts = torch.bincount(detected.image_index, minlength=max(images) + 1)
    first = (counts.cumsum(0) - counts)[faces.image_index].tolist()
    numbers = [face - start for (_, face), start in zip(pairs, first, strict=True)]
    return _Found([sample for sample, _ in pairs], faces, counts[faces.image_index] > 1, numbers)


def _decoded(samples: Sequence[Sample]) -> tuple[Pictures, dict[str | bytes, ImageError]]:
    """The pictures of samples, each once, and why others can't be read."""
    pictures: Pictures = {}
    errors: dict[str | bytes, ImageError] = {}
    for sample in samples:
        if sample.picture not in pictures and sample.picture not in errors:
            try:
                pictures[sample.picture] = decode(sample.picture)
            except ImageError as error:
                errors[sample.picture] = error
    return pictures, errors
