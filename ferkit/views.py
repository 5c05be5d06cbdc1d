"""From faces to views: which faces are turned, what becomes of those that can't be, which views are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ferkit.alignment import align_faces
from ferkit.interfaces import Detector, Normalizer
from ferkit.recipe_model import Align, Normalization
from ferkit.types import ALIGNED, FRONTAL, Faces, FaceViews, Frontal, ImageBatch


@dataclass(frozen=True)
class ViewBuilder:
    """Aligns faces, and turns those beyond the gate with a normalizer where there is one.

    Attributes:
        align: How faces become squares.
        normalizer: Turns faces, or None.
        normalization: The gate, and which views are kept.
        detector: Finds a turned face again, for editors shift and zoom.
    """

    align: Align
    normalizer: Normalizer | None
    normalization: Normalization
    detector: Detector

    def __call__(self, batch: ImageBatch, faces: Faces) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        """The views of ``faces``, and for each face the flags that tell how it came by them."""
        aligned = align_faces(batch.images, faces, self.align)
        if self.normalizer is None:
            n = len(faces)
            return FaceViews(aligned, torch.arange(n), (ALIGNED,) * n, torch.zeros(n, dtype=torch.bool)), ((),) * n
        chosen = beyond_gate(faces, self.normalization)
        frontal = self._turn(batch, faces, chosen)
        return self._assemble(aligned, chosen, frontal)

    def _turn(self, batch: ImageBatch, faces: Faces, chosen: Tensor) -> dict[int, Tensor | str]:
        """Per chosen face its frontal view ``[3, S, S]``, or the flag that says why there is none."""
        indices = torch.nonzero(chosen).flatten().tolist()
        assert self.normalizer is not None
        turned = list(self.normalizer(batch, faces.select(chosen))) if indices else []
        return dict(zip(indices, self._frontal_views(turned), strict=True))

    def _frontal_views(self, turned: Sequence[Frontal | None]) -> list[Tensor | str]:
        """Each turned face found again and aligned, or the flag that says why it could not be."""
        searched = [result for result in turned if result is not None and result.landmarks is None]
        # a detector that does not look, but passes on what is given, takes the whole
        batch = ImageBatch(
            tuple(result.image for result in searched),
            ("frontal",) * len(searched),
            tuple(Faces.of([0], _extent(result)) for result in searched),
        )
        found = self.detector(batch) if searched else Faces.none()
        each = iter([found.select(found.image_index == index) for index in range(len(searched))])
        views: list[Tensor | str] = []
        for result in turned:
            if result is None:
                views.append("edit_failed")
                continue
            known = result.landmarks
            faces = next(each) if known is None else Faces.of([0], _extent(result), landmarks={"5": known[None]})
            if len(faces) == 1:
                alone = replace(faces, image_index=torch.zeros(1, dtype=torch.int64))
                views.append(align_faces((result.image,), alone, self.align)[0])
            else:
                views.append("edit_rejected:several_faces" if len(faces) else "edit_rejected:no_face")
        return views

    def _assemble(
        self, aligned: Tensor, chosen: Tensor, frontal: dict[int, Tensor | str]
    ) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        pixels, owner, names, failed, flags = [], [], [], [], []
        for face, turn in enumerate(chosen.tolist()):
            result = frontal.get(face)
            flags.append((result,) if isinstance(result, str) else () if turn else ("not_turned",))
            if not isinstance(result, Tensor) or self.normalization.keep == "both":
                pixels.append(aligned[face])
                names.append(ALIGNED)
                failed.append(isinstance(result, str))
                owner.append(face)
            if isinstance(result, Tensor):
                pixels.append(result)
                names.append(FRONTAL)
                failed.append(False)
                owner.append(face)
        views = FaceViews(
            torch.stack(pixels) if pixels else aligned,
            torch.tensor(owner, dtype=torch.int64),
            tuple(names),
            torch.tensor(failed, dtype=torch.bool),
        )
        return views, tuple(flags)


def _extent(result: Frontal) -> Tensor:
    """The whole picture as a box ``[1, 4]``."""
    height, width = result.image.shape[1:]
    return torch.tensor([[0.0, 0.0, width, height]])


def beyond_gate(faces: Faces, normalization: Normalization) -> Tensor:
    """Which faces are turned far enough to be normalized, bool ``[N]``; one without pose is not."""
    yaw, pitch = faces.pose[:, 0].abs(), faces.pose[:, 1].abs()
    beyond = yaw > normalization.above_yaw
    if normalization.above_pitch is not None:
        beyond = beyond | (pitch > normalization.above_pitch)
    return beyond
