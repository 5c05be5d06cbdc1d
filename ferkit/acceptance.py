"""The gate out: whether what a normalizer returned is one face, turned far enough, and still the same."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.alignment import align_faces
from ferkit.encoding import StagedEncoder
from ferkit.interfaces import Detector, PoseEstimator
from ferkit.recipe_model import Accept, Align
from ferkit.types import Faces, Frontal, ImageBatch, Pose

log = logging.getLogger(__name__)

UNKNOWN = Pose(torch.nan, torch.nan, torch.nan)
REASONS = tuple(
    f"edit_rejected:{reason}" for reason in ("no_face", "several_faces", "yaw", "pitch", "identity", "expression")
)
"""Flags of what is not accepted, in the order in which the gates are passed."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one picture that a normalizer returned.

    Attributes:
        flag: Of :data:`REASONS`; None if it was accepted.
        view: The face in it, found again and aligned, float32 ``[3, S, S]``; None if it was not accepted.
        pose: Of the face in it; NaN where unknown.
        cosines: By judge, how close it is to the face as it was.
    """

    flag: str | None
    view: Tensor | None = None
    pose: Pose = UNKNOWN
    cosines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Acceptance:
    """Judges what a normalizer returned.

    Attributes:
        align: How faces become squares.
        accept: The gates.
        detector: Finds a turned face again, for editors shift and zoom.
        pose: Tells how far it is still turned, where the recipe estimates that.
        judges: Encoders by their names in ``accept``.
        device: Where they compute.
        searches: Whether to look for the face also where the normalizer says its landmarks, because the pose needs more.
    """

    align: Align
    accept: Accept
    detector: Detector
    pose: PoseEstimator | None
    judges: Mapping[str, StagedEncoder]
    device: torch.device
    searches: bool

    def __call__(self, aligned: Tensor, crops: Tensor, results: Sequence[Frontal]) -> list[Verdict]:
        """One verdict a result.

        Args:
            aligned: The faces as they were, float32 ``[N, 3, S, S]``.
            crops: Whether each filled its picture, so that it still does, bool ``[N]``.
            results: The same faces turned.
        """
        batch = ImageBatch(
            tuple(result.image for result in results),
            ("frontal",) * len(results),
            tuple(_known(result, crop) for result, crop in zip(results, crops.tolist(), strict=True)),
        )
        found = self._find(batch)
        alone = [index for index, faces in enumerate(found) if len(faces) == 1]
        faces = Faces.concat(
            replace(found[index], image_index=torch.tensor([index], dtype=torch.int64)) for index in alone
        )
        if self.pose and alone:
            faces = self.pose(batch, faces)
        views = align_faces(batch.images, faces, self.align)
        cosines = self._compare(aligned[alone], views) if alone else {}
        verdicts = [Verdict(REASONS[bool(len(faces))]) for faces in found]
        for row, index in enumerate(alone):
            pose = Pose(*faces.pose[row].tolist())
            own = {name: values[row] for name, values in cosines.items()}
            flag = self._fault(pose, own)
            verdicts[index] = Verdict(flag, views[row] if flag is None else None, pose, own)
        return verdicts

    def _find(self, batch: ImageBatch) -> list[Faces]:
        """The faces in each result; where its landmarks are known, that face."""
        assert batch.given is not None
        searched = [index for index, known in enumerate(batch.given) if not known.landmarks or self.searches]
        part = ImageBatch(
            tuple(batch.images[index] for index in searched),
            tuple(batch.sources[index] for index in searched),
            tuple(batch.given[index] for index in searched),
        )
        faces = self.detector(part) if searched else Faces.none()
        found = []
        for index, known in enumerate(batch.given):
            found.append(faces.select(faces.image_index == searched.index(index)) if index in searched else known)
        return found

    def _compare(self, before: Tensor, after: Tensor) -> dict[str, list[float]]:
        """By judge, the cosine of each pair of views."""
        both = torch.cat([before, after]).to(self.device)
        cosines = {}
        for name, encoder in self.judges.items():
            old, new = encoder(both).pooled.float().chunk(2)
            cosines[name] = F.cosine_similarity(old, new).tolist()
        return cosines

    def _fault(self, pose: Pose, cosines: Mapping[str, float]) -> str | None:
        """The first gate that a face does not pass; one whose pose is unknown does not pass that of its pose."""
        limits = {"yaw": self.accept.max_yaw, "pitch": self.accept.max_pitch}
        for name, limit in limits.items():
            if limit is not None and not abs(getattr(pose, name)) <= limit:
                return f"edit_rejected:{name}"
        for name, judge in self.accept.judges.items():
            if not cosines[name] >= judge.min_cosine:
                return f"edit_rejected:{name}"
        return None


def _known(result: Frontal, crop: bool) -> Faces:
    """What a normalizer says of the face in its result; landmarks that are none of a face in it count for nothing."""
    height, width = result.image.shape[1:]
    box = torch.tensor([0.0, 0.0, width, height]) if crop or result.box is None else result.box.cpu().float()
    points = result.landmarks
    if points is not None and not _plausible(points, width, height):
        log.warning(
            "a normalizer gave landmarks that lie on no face of %d x %d pixels: it is searched for", width, height
        )
        points = None
    landmarks = {} if points is None else {"5": points[None].cpu().float()}
    return Faces.of([0], box[None], landmarks=landmarks, is_crop=crop)


def _plausible(points: Tensor, width: int, height: int) -> bool:
    """Whether points ``[5, 2]`` can be those of a face in a picture: near it, and apart from each other."""
    if not bool(torch.isfinite(points).all()):
        return False
    size = torch.tensor([width, height], device=points.device)
    near = (points > -size / 2) & (points < 1.5 * size)
    return bool(near.all()) and float((points.amax(0) - points.amin(0)).amax()) >= 1
