"""The judge of a normalizer: a recipe's encoders and head, shown one view at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.alignment import align_faces
from ferkit.interfaces import Context
from ferkit.labels import canonical
from ferkit.recipe import Recipe
from ferkit.recognizer import Recognizer
from ferkit.types import Faces, FaceViews, ImageBatch


@dataclass(frozen=True, eq=False)
class Opinion:
    """What the judge makes of one view.

    Attributes:
        label: The most probable.
        neutral: Probability of ``neutral``; None where the judge has no such label.
        pooled: By encoder, float32 ``[D]``.
    """

    label: str
    neutral: float | None
    pooled: dict[str, Tensor]

    def cosines(self, other: "Opinion") -> dict[str, float]:
        """By encoder, the cosine of both views' pooled features."""
        return {name: float(F.cosine_similarity(own, other.pooled[name], dim=0)) for name, own in self.pooled.items()}


class Judge:
    """A recipe's alignment, encoders and head.

    Args:
        recipe: Of it nothing else is built.
        context: Where they are.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self._recognizer = Recognizer(recipe, context)
        self._align, self._labels = recipe.framework.align, recipe.labels
        names = [canonical(label) for label in recipe.labels]
        self._neutral = names.index("neutral") if "neutral" in names else None

    def __call__(self, batch: ImageBatch, faces: Faces, view: str) -> list[Opinion]:
        """One opinion a face, of its view cut from the picture it is in; ``view`` is what heads are told of that."""
        n = len(faces)
        if n == 0:
            return []
        pixels = align_faces(batch.images, faces, self._align)
        views = FaceViews(pixels, torch.arange(n), (view,) * n, torch.zeros(n, dtype=torch.bool))
        features = self._recognizer.features(views)
        found = self._recognizer.logits(features, faces).float().softmax(-1).cpu()
        pooled = {name: each.pooled.float().cpu() for name, each in features.encoders.items()}
        return [
            Opinion(
                self._labels[int(own.argmax())],
                None if self._neutral is None else float(own[self._neutral]),
                {name: values[face] for name, values in pooled.items()},
            )
            for face, own in enumerate(found)
        ]
