"""Samples through a pipeline: for each what was predicted of its face, or why nothing was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ferkit.evaluation.locating import Located, Pictures, Rows, locate, records
from ferkit.evaluation.pose import pose_of
from ferkit.interfaces import Sample
from ferkit.journal import Record, plain
from ferkit.pipelines import Pipeline, told_flags
from ferkit.types import ImageInfo, Predictions


@dataclass(frozen=True)
class Predictor:
    """A pipeline at work on annotated faces, as :func:`ferkit.evaluation.locating.locate` finds them.

    ``on_no_face`` has no say: a face that is not found is missed.

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
        return records(samples, self.batch_size, self._rows)

    def _rows(self, samples: Sequence[Sample], pictures: Pictures) -> Rows:
        found = locate(samples, pictures, self.pipeline, self.is_crop)
        predictions = self._predictions(found)
        pose, origin = pose_of(found.samples, found.faces)
        rows = {}
        for sample, number, row, angles, told in zip(
            found.samples, found.numbers, predictions.to_dicts(), pose.tolist(), origin, strict=True
        ):
            own = dict(zip(("yaw", "pitch", "roll"), angles, strict=True))
            rows[sample.id] = plain({**row, **own, "source": sample.id, "face": number, "pose_from": told})
        return rows

    def _predictions(self, located: Located) -> Predictions:
        """What the pipeline makes of faces."""
        fer, batch, faces = self.pipeline, located.batch, located.faces
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
