"""From faces to views: which faces are turned, what becomes of those that can't be, which views are kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ferkit.alignment import align_faces
from ferkit.errors import StageError
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
        if len(turned) != len(indices):
            raise StageError(f"the normalizer returned {len(turned)} results for {len(indices)} faces")
        return {index: self._frontal_view(result) for index, result in zip(indices, turned, strict=True)}

    def _frontal_view(self, result: Frontal | None) -> Tensor | str:
        if result is None:
            return "edit_failed"
        batch = ImageBatch((result.image,), ("frontal",))
        if result.landmarks is not None:
            height, width = result.image.shape[1:]
            whole = torch.tensor([[0.0, 0.0, width, height]])
            found = Faces.of([0], whole, landmarks={"5": result.landmarks.unsqueeze(0)})
        else:
            found = self.detector(batch)
        if len(found) != 1:
            return "edit_rejected:several_faces" if len(found) else "edit_rejected:no_face"
        return align_faces(batch.images, found, self.align)[0]

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


def beyond_gate(faces: Faces, normalization: Normalization) -> Tensor:
    """Which faces are turned far enough to be normalized, bool ``[N]``; one without pose is not."""
    yaw, pitch = faces.pose[:, 0].abs(), faces.pose[:, 1].abs()
    beyond = yaw > normalization.above_yaw
    if normalization.above_pitch is not None:
        beyond = beyond | (pitch > normalization.above_pitch)
    return beyond
