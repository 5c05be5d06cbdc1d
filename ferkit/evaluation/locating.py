"""Annotated faces in their pictures: which of the faces that a detector finds each of them is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ferkit.datasets.prepared import annotated, matched
from ferkit.errors import ImageError
from ferkit.images import decode
from ferkit.interfaces import Sample
from ferkit.journal import NO_FACE, Record, mark
from ferkit.pipelines import Pipeline
from ferkit.preparation import Preparation
from ferkit.types import Faces, ImageBatch

Pictures = dict[str | bytes, Tensor]
"""Decoded pictures by path or content."""
Rows = dict[str, dict[str, Any]]
"""By its sample's id, what is told of a face that was found."""


Finder = Pipeline | Preparation
"""What finds faces in scenes, and tells the pose of crops."""


@dataclass(frozen=True, eq=False)
class Located:
    """Annotated faces that were found.

    Attributes:
        batch: All pictures.
        samples: Of the faces that were found.
        faces: They themselves, in the samples' order.
        several: bool ``[N]``: whether their picture holds others.
        numbers: Of each in its picture.
    """

    batch: ImageBatch
    samples: Sequence[Sample]
    faces: Faces
    several: Tensor
    numbers: Sequence[int]


def locate(samples: Sequence[Sample], pictures: Pictures, finder: Finder, is_crop: bool) -> Located:
    """Find annotated faces.

    A cropped picture is its face, no detector is asked. In a scene the face that the detector finds is the annotated one from
    an overlap (IoU) of 0.4; without an annotated box it is the largest.

    Args:
        samples: At least one; their pictures are among ``pictures``.
        pictures: Decoded.
        finder: Finds faces in scenes, and tells the pose of crops.
        is_crop: Whether pictures are cropped to the face.
    """
    place = {picture: index for index, picture in enumerate(pictures)}
    images = [place[sample.picture] for sample in samples]
    known = [annotated(sample, pictures[sample.picture], is_crop) for sample in samples]
    pairs = list(zip(known, images, strict=True))
    sources = {sample.picture: sample.source for sample in samples}
    batch = ImageBatch(
        tuple(pictures.values()),
        tuple(sources.get(picture, "") for picture in pictures),
        tuple(Faces.concat(face for face, image in pairs if image == index) for index in place.values()),
    )
    if is_crop:
        crops = Faces.concat(replace(face, image_index=face.image_index + image) for face, image in pairs)
        faces = finder.crops(batch, crops)
        return Located(batch, samples, faces, torch.zeros(len(faces), dtype=torch.bool), [0] * len(faces))
    detected = finder.faces(batch)
    chosen = matched(detected, [(image, sample.box) for image, sample in zip(images, samples, strict=True)])
    found = [(sample, face) for sample, face in zip(samples, chosen, strict=True) if face is not None]
    faces = detected.select(torch.tensor([face for _, face in found], dtype=torch.int64))
    counts = torch.bincount(detected.image_index, minlength=len(pictures))
    first = (counts.cumsum(0) - counts)[faces.image_index].tolist()
    numbers = [face - start for (_, face), start in zip(found, first, strict=True)]
    return Located(batch, [sample for sample, _ in found], faces, counts[faces.image_index] > 1, numbers)


def records(
    samples: Iterator[Sample], batch_size: int, rows: Callable[[Sequence[Sample], Pictures], Rows]
) -> Iterator[Record]:
    """One record a sample, called by its id, in order, lazily.

    Args:
        samples: Annotated faces.
        batch_size: How many are done at once.
        rows: Tells of faces, given at least one sample and the decoded pictures; those that it leaves out were not found.
    """
    while chunk := list(islice(samples, batch_size)):
        marks = [mark(sample.source) for sample in chunk]
        pictures, errors = decoded(chunk)
        readable = [sample for sample in chunk if sample.picture not in errors]
        found = rows(readable, pictures) if readable else {}
        for sample, seen in zip(chunk, marks, strict=True):
            error = errors.get(sample.picture)
            if error is not None:
                yield Record(sample.id, seen, [], (error.kind, str(error)))
            elif sample.id in found:
                yield Record(sample.id, seen, [found[sample.id]])
            else:
                yield Record(sample.id, seen, [], (NO_FACE, "no face was found"))


def decoded(samples: Sequence[Sample]) -> tuple[Pictures, dict[str | bytes, ImageError]]:
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
