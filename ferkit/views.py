"""From faces to views: which faces are turned, what stands in for those that can't be, which views are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan

import torch
from torch import Tensor

from ferkit.acceptance import REASONS, UNKNOWN, Acceptance, Verdict
from ferkit.alignment import align_faces
from ferkit.decisions import decision
from ferkit.recipe_model import Align, Normalization
from ferkit.turning import Turn, Turner
from ferkit.types import ALIGNED, FRONTAL, Faces, FaceViews, Frontal, ImageBatch, Pose

FAILED = "edit_failed"
PROGRESS = (FAILED, *REASONS)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a face in front of a normalizer.

    Attributes:
        flags: That tell how it came by its views.
        view: Its frontal view, float32 ``[3, S, S]``, or None.
        pose: Of what was turned; NaN where unknown, or nothing was. This and the rest are of the draw that was taken, or else
            came furthest.
        cosines: By judge, how close that is to the face as it was.
        sample: Number of the draw, or None.
        seconds: All draws took, when they were made; None where the face was left alone.
        cached: Whether all draws were made before.
        frontal: What the normalizer returned, also where it was not accepted.
    """

    flags: tuple[str, ...]
    view: Tensor | None = None
    pose: Pose = UNKNOWN
    cosines: dict[str, float] = field(default_factory=dict)
    sample: int | None = None
    seconds: float | None = None
    cached: bool = False
    frontal: Frontal | None = None

    @property
    def decision(self) -> str:
        """``turned``, ``not_turned``, ``failed`` or ``rejected:…`` with the reason."""
        return decision(self.flags)


@dataclass(frozen=True)
class ViewBuilder:
    """Aligns faces, and turns those beyond the gate with a normalizer where there is one.

    Attributes:
        align: How faces become squares.
        normalization: The gate in, and which views are kept.
        turner: Turns faces, or None.
        acceptance: The gate out.
    """

    align: Align
    normalization: Normalization
    turner: Turner | None
    acceptance: Acceptance

    def __call__(self, batch: ImageBatch, faces: Faces) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        """The views of ``faces``, and for each face the flags that tell how it came by them."""
        aligned, outcomes = self.outcomes(batch, faces)
        return self._assemble(aligned, outcomes), tuple(outcome.flags for outcome in outcomes)

    def outcomes(self, batch: ImageBatch, faces: Faces) -> tuple[Tensor, list[Outcome]]:
        """The aligned view of each face, float32 ``[N, 3, S, S]``, and what became of it."""
        aligned = align_faces(batch.images, faces, self.align)
        if self.turner is None:
            return aligned, [Outcome(())] * len(faces)
        outcomes = [Outcome(("not_turned",))] * len(faces)
        chosen = torch.nonzero(beyond_gate(faces, self.normalization)).flatten()
        waiting = iter(chosen.tolist())
        for group in self.turner(batch, faces.select(chosen)):
            owners = [next(waiting) for _ in group]
            judged = self._judge(aligned[owners], faces.is_crop[owners], group)
            for face, outcome in zip(owners, judged, strict=True):
                outcomes[face] = outcome
        return aligned, outcomes

    def _judge(self, aligned: Tensor, crops: Tensor, group: Sequence[Sequence[Turn]]) -> list[Outcome]:
        """The best draw of each face of a group."""
        drawn = [(face, turn.frontal) for face, turns in enumerate(group) for turn in turns if turn.frontal is not None]
        owners = [face for face, _ in drawn]
        results = [frontal for _, frontal in drawn]
        judged = iter(self.acceptance(aligned[owners], crops[owners], results) if drawn else ())
        verdicts = [
            [next(judged) if turn.frontal is not None else Verdict(FAILED) for turn in turns] for turns in group
        ]
        return [_best(turns, own) for turns, own in zip(group, verdicts, strict=True)]

    def _assemble(self, aligned: Tensor, outcomes: Sequence[Outcome]) -> FaceViews:
        pixels, owner, names, failed = [], [], [], []
        for face, outcome in enumerate(outcomes):
            stands_in = any(flag in PROGRESS for flag in outcome.flags)
            if outcome.view is None or self.normalization.keep == "both":
                pixels.append(aligned[face])
                names.append(ALIGNED)
                failed.append(stands_in)
                owner.append(face)
            if outcome.view is not None:
                pixels.append(outcome.view)
                names.append(FRONTAL)
                failed.append(False)
                owner.append(face)
        return FaceViews(
            torch.stack(pixels) if pixels else aligned,
            torch.tensor(owner, dtype=torch.int64),
            tuple(names),
            torch.tensor(failed, dtype=torch.bool),
        )


def _best(turns: Sequence[Turn], verdicts: Sequence[Verdict]) -> Outcome:
    """Of the accepted draws the one with the least |yaw| left, or else the highest score; of others, who came furthest."""

    def rank(sample: int) -> tuple[float, ...]:
        verdict, frontal = verdicts[sample], turns[sample].frontal
        if verdict.flag is not None or frontal is None:
            return (1, -PROGRESS.index(verdict.flag or FAILED))
        yaw = abs(verdict.pose.yaw)
        return (0, isnan(yaw), 0.0 if isnan(yaw) else yaw, -frontal.score)

    best = min(range(len(turns)), key=rank)
    verdict = verdicts[best]
    return Outcome(
        (verdict.flag,) if verdict.flag else (),
        verdict.view,
        verdict.pose,
        verdict.cosines,
        best,
        sum(turn.seconds for turn in turns),
        all(turn.cached for turn in turns),
        turns[best].frontal,
    )


def beyond_gate(faces: Faces, normalization: Normalization) -> Tensor:
    """Which faces are turned far enough to be normalized, bool ``[N]``; of those without pose ``no_pose`` decides."""
    yaw, pitch = faces.pose[:, 0].abs(), faces.pose[:, 1].abs()
    beyond = yaw > normalization.above_yaw
    if normalization.above_pitch is not None:
        beyond = beyond | (pitch > normalization.above_pitch)
    if normalization.no_pose == "turn":
        beyond = beyond | torch.isnan(yaw)
    return beyond
