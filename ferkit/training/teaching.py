"""What a teacher says of the faces to learn from."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ferkit.cache import Cache, Entry, digest
from ferkit.datasets.prepared import SHARD, Prepared, prepare
from ferkit.errors import FerkitError
from ferkit.interfaces import Context
from ferkit.labels import column_order
from ferkit.pipelines import Pipeline
from ferkit.preparation import view_digest
from ferkit.recipe import Recipe
from ferkit.training.live import Watcher


def taught(
    teacher: Pipeline, faces: Prepared, recipe: Recipe, context: Context, cache: Cache, watcher: Watcher
) -> Tensor:
    """Log-probabilities ``[N, C]`` of the teacher on the faces as they are, in the recipe's order of labels.

    The teacher sees the views that its own recipe makes; the row of a face that it does not find is NaN.

    Args:
        teacher: Built on the device where it is to compute.
        faces: The student's.
        recipe: The student's.
        context: The student's.
        cache: Where views and probabilities are kept.
        watcher: Told of the progress.

    Raises:
        FerkitError: If the teacher lacks labels, or finds none of the faces.
    """
    origin = teacher.provenance
    order = column_order(teacher.recipe.labels, recipe.labels, f"the teacher {teacher.recipe.name}")
    own = _views(teacher, faces, recipe, context, cache, watcher)
    found = torch.nonzero(own.found).flatten()
    if not len(found):
        raise FerkitError(f"the teacher {teacher.recipe.name} finds none of {len(own)} faces: choose another")
    seen = own.select(found.tolist())
    advance = watcher.task("teacher", len(seen))
    rows = []
    for start in range(0, len(seen), SHARD):
        index = list(range(start, min(start + SHARD, len(seen))))
        key = digest([origin["recipe_digest"], origin["weights"], origin["distributions"], seen.fingerprint(index)])

        def compute(index: Sequence[int] = index) -> Entry:
            views, chosen = seen.views(index), seen.faces.select(torch.tensor(index))
            return {"probabilities": teacher.probabilities(teacher.features(views), chosen)}, {}

        tensors, _ = cache.get("teacher", key, compute)
        rows.append(tensors["probabilities"])
        advance(len(index))
    logs = torch.cat(rows)[:, order].clamp_min(1e-8).log()
    return torch.full((len(own), logs.shape[1]), torch.nan).index_copy(0, found, logs)


def _views(
    teacher: Pipeline, faces: Prepared, recipe: Recipe, context: Context, cache: Cache, watcher: Watcher
) -> Prepared:
    """The faces as the teacher's recipe prepares them: the student's own, where both prepare alike."""
    cropped = bool(faces.faces.is_crop.any())
    other = replace(context, seed=teacher.recipe.framework.seed, labels=teacher.recipe.labels, training=False)
    if view_digest(teacher.recipe, other) == view_digest(recipe, context):
        return faces
    advance = watcher.task("faces for the teacher", len(faces))
    return prepare(faces.samples, cropped, teacher.recipe, other, cache, advance)
