"""Samples through a normalizer, and what came back looked at by others than those that let it pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ferkit.evaluation.judge import Judge, Opinion
from ferkit.evaluation.locating import Located, Pictures, Rows, decoded, locate, records
from ferkit.evaluation.pose import pose_of
from ferkit.interfaces import Sample
from ferkit.journal import Record, plain
from ferkit.preparation import Preparation
from ferkit.types import ALIGNED, FRONTAL, Frontal, Pose
from ferkit.views import Outcome


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face as the watcher and the judge see it."""

    pose: Pose
    opinion: Opinion


@dataclass(frozen=True)
class Examiner:
    """A normalizer at work on annotated faces, and who looks at what it returns.

    What it says of its own results, landmarks above all, is not believed: the watcher finds the face anew.

    Attributes:
        preparation: Of the recipe: finds faces, tells which are turned, turns and accepts them.
        watcher: The same detector with the pose estimator that tells how far faces are turned before and after.
        judge: Compares the views.
        frontals: By the id of a sample, the true frontal view that its edit is compared with.
        is_crop: Whether pictures are cropped to the face.
        batch_size: Samples done at once.
    """

    preparation: Preparation
    watcher: Preparation
    judge: Judge
    frontals: Mapping[str, Sample]
    is_crop: bool
    batch_size: int

    def __call__(self, samples: Iterator[Sample]) -> Iterator[Record]:
        """One record a sample, called by its id, in order, lazily, with a row of ``edits.parquet``."""
        return records(samples, self.batch_size, self._rows)

    @torch.inference_mode()
    def _rows(self, samples: Sequence[Sample], pictures: Pictures) -> Rows:
        located = locate(samples, pictures, self.preparation, self.is_crop)
        _, outcomes = self.preparation.outcomes(located.batch, located.faces)
        rows = _decided(located, outcomes)
        returned = [
            (sample, outcome.frontal)
            for sample, outcome in zip(located.samples, outcomes, strict=True)
            if outcome.frontal is not None
        ]
        if returned:
            before, _ = self._look([sample for sample, _ in returned], pictures, ALIGNED)
            after, counts = self._look([_edit(sample, edit) for sample, edit in returned], _shown(returned), FRONTAL)
            frontal = self._look_at_frontals([sample for sample, _ in returned])
            for (sample, _), n in zip(returned, counts, strict=True):
                reference = self.frontals.get(sample.id)
                true = frontal.get(reference.id) if reference else None
                rows[sample.id] |= {"faces_after": n, "frontal": reference.id if reference else None}
                rows[sample.id] |= _compared(before.get(sample.id), after.get(sample.id), true)
        return {key: plain(row) for key, row in rows.items()}

    def _look(self, samples: Sequence[Sample], pictures: Pictures, view: str) -> tuple[dict[str, _Seen], list[int]]:
        """The faces of samples, by id, that the watcher finds.

        And how many faces the detector finds in each of their pictures.
        """
        own = {picture: pictures[picture] for picture in dict.fromkeys(sample.picture for sample in samples)}
        located = locate(samples, own, self.watcher, self.is_crop)
        opinions = self.judge(located.batch, located.faces, view)
        seen = {
            sample.id: _Seen(Pose(*pose), opinion)
            for sample, pose, opinion in zip(located.samples, located.faces.pose.tolist(), opinions, strict=True)
        }
        found = self.watcher.faces(located.batch).image_index
        return seen, torch.bincount(found, minlength=len(located.batch)).tolist()

    def _look_at_frontals(self, samples: Sequence[Sample]) -> dict[str, _Seen]:
        """The true frontal views of samples, by their own ids."""
        wanted = {found.id: found for sample in samples if (found := self.frontals.get(sample.id))}
        pictures, _ = decoded(list(wanted.values()))
        readable = [sample for sample in wanted.values() if sample.picture in pictures]
        return self._look(readable, pictures, ALIGNED)[0] if readable else {}


def _decided(located: Located, outcomes: Sequence[Outcome]) -> Rows:
    """What is known of faces, and what became of each."""
    pose, origin = pose_of(located.samples, located.faces)
    rows = {}
    for index, (sample, outcome) in enumerate(zip(located.samples, outcomes, strict=True)):
        rows[sample.id] = {
            "source": sample.id,
            "face": located.numbers[index],
            **dict(zip(("x0", "y0", "x1", "y1"), located.faces.boxes[index].tolist(), strict=True)),
            "detection_score": float(located.faces.scores[index]),
            **dict(zip(("yaw", "pitch", "roll"), pose[index].tolist(), strict=True)),
            "pose_score": float(located.faces.pose_score[index]),
            "pose_from": origin[index],
            "decision": outcome.decision,
            "seconds": outcome.seconds,
            "cached": None if outcome.seconds is None else outcome.cached,
        }
    return rows


def _edit(sample: Sample, edit: Frontal) -> Sample:
    """What came back as a sample, whose picture is in :func:`_shown`; a box outside it counts for nothing."""
    if edit.box is None:
        return Sample(sample.id, sample.id, None)
    height, width = edit.image.shape[1:]
    x0, y0, x1, y1 = edit.box.tolist()
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return Sample(sample.id, sample.id, None, box=(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None)


def _shown(returned: Sequence[tuple[Sample, Frontal]]) -> Pictures:
    return {sample.id: edit.image.cpu() for sample, edit in returned}


def _compared(before: _Seen | None, after: _Seen | None, true: _Seen | None) -> dict[str, Any]:
    """The columns of a face before and after, None where it was not found."""
    row: dict[str, Any] = {}
    for when, seen in (("before", before), ("after", after)):
        if seen:
            row |= {f"yaw_{when}": seen.pose.yaw, f"pitch_{when}": seen.pose.pitch}
            row |= {f"label_{when}": seen.opinion.label, f"neutral_{when}": seen.opinion.neutral}
        if seen and true:
            row |= {f"{name}_to_frontal_{when}": cos for name, cos in seen.opinion.cosines(true.opinion).items()}
    if before and after:
        row |= {f"{name}_cosine": cosine for name, cosine in before.opinion.cosines(after.opinion).items()}
    return row
