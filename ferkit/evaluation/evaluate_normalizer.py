"""``ferkit.evaluate_normalizer``: a recipe's normalizer judged by itself."""

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ferkit.cache import Cache
from ferkit.datasets.naming import Data, recipe_with_data
from ferkit.errors import FerkitError
from ferkit.evaluation.collecting import Job, finished
from ferkit.evaluation.data import Judged, judged
from ferkit.evaluation.edits import EDITS, edit_table, read_edits
from ferkit.evaluation.examining import Examiner
from ferkit.evaluation.judge import Judge
from ferkit.evaluation.normalizer_evaluation import NormalizerEvaluation
from ferkit.evaluation.pose import estimator_of
from ferkit.evaluation.references import true_frontals
from ferkit.evaluation.resampling import Bootstrap
from ferkit.interfaces import Context
from ferkit.journal import Journal
from ferkit.labels import missing_labels
from ferkit.normalizing import require_normalizer
from ferkit.pipelines import find_device
from ferkit.preparation import Preparation, prepared_parts
from ferkit.provenance import provenance
from ferkit.recipe import Recipe, RecipeSource, load_recipe
from ferkit.registry import Registry
from ferkit.weights import WeightsStore

if TYPE_CHECKING:
    from pandas import DataFrame

JOURNAL = "edits.partial.jsonl"
SAME = ("recipe_digest", "distributions", "weights", "data", "pose", "judge")
"""What of the provenance must be the same for an evaluation to go on: its journal looks at each picture itself."""

FINISHED = (*SAME, "pictures")
"""What must be the same for a finished one to be scored again."""


def evaluate_normalizer(
    recipe: RecipeSource = "default",
    data: Data | None = None,
    out: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    pose: str | Mapping[str, Any] | None = None,
    judge: RecipeSource | None = None,
    split: str | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 16,
    resamples: int = 10_000,
    seed: int = 0,
    overwrite: bool = False,
    registry: Registry | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> NormalizerEvaluation:
    """Judge what a recipe's normalizer makes of annotated faces, missed faces included.

    How far a face is turned before and after is told by one pose estimator, best by another than the recipe's, which decides
    which faces are turned and accepted. Whether the expression, or the person, is still the same is told by a judge. Where
    the data shows the same person with the same expression from the front, what came back is compared with that, too.

    With ``out`` the same call goes on where an interrupted one stopped.

    Args:
        recipe: As for :func:`ferkit.pipeline`; with a normalizer.
        data: ``"name:path"`` of a data set, or a recipe's ``data`` as a mapping; None: what the recipe has.
        out: Folder for the report; None: nothing is written.
        overrides: Nested or dotted keys on top of the recipe.
        pose: A pose estimator's name, or that with options as in a recipe; None: the recipe's own, with a warning.
        judge: A recipe whose encoders and head compare the views; None: the recipe itself.
        split: Of the data set; None: ``test``, else ``validation``, else the only one.
        device: Where to compute.
        batch_size: Faces done at once.
        resamples: Of the bootstrap, at least 100.
        seed: Of the bootstrap.
        overwrite: Whether another report in ``out`` is replaced.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        progress: Whether a bar is drawn on stderr; None: if that is a terminal.

    Raises:
        RecipeError: If a recipe is wrong.
        FerkitError: If there is no normalizer, the data does not fit, the judge lacks a label of it, or ``out`` holds a report of
            another recipe, other data, or by another estimator or judge.
    """
    Bootstrap(resamples, seed)  # what can't be drawn says so before hours of work
    loaded = recipe_with_data(recipe, data, overrides, registry)
    require_normalizer(loaded)
    judging = loaded if judge is None else load_recipe(judge, registry=registry)
    watching = _watching(loaded, pose, registry)
    chosen = judged(loaded, split)
    _require_labels(judging, chosen)
    _warn_of_estimator(loaded, watching)

    def context(of: Recipe) -> Context:
        return Context(find_device(device), torch.float32, of.framework.seed, of.labels, WeightsStore(download))

    own, eyes, mind = context(loaded), context(watching), context(judging)
    examiner = Examiner(
        Preparation(loaded, own, Cache()),
        Preparation(watching, eyes, Cache()),
        Judge(judging, mind),
        true_frontals(chosen.samples),
        chosen.is_crop,
        batch_size,
    )
    origin = {
        **provenance(loaded, own.weights, own.device, prepared_parts(loaded)),
        "resolved_recipe": loaded.resolved(),
        "data": chosen.summary(),
        "pictures": chosen.pictures(),
        "pose": {
            "estimator": estimator_of(watching),
            "gate": estimator_of(loaded),
            "options": watching.pose.as_dict() if watching.pose else None,
            **_origin(watching, eyes, ("detector", "pose")),
        },
        "judge": {
            "recipe": judging.name,
            "recipe_digest": judging.digest,
            "labels": list(judging.labels),
            "encoders": list(judging.encoders),
            **_origin(judging, mind, ("encoders", "head")),
        },
    }
    job = Job(examiner, chosen, progress)

    def found(rows: "DataFrame") -> NormalizerEvaluation:
        return NormalizerEvaluation.of(rows, origin, resamples=resamples, seed=seed)

    encoders = list(judging.encoders)
    if out is None:
        return found(edit_table(job.rows(), encoders))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / JOURNAL) as journal:
        rows = None if overwrite or len(journal) else finished(folder, EDITS, read_edits, origin, FINISHED)
        if rows is None:
            journal.begin({key: origin[key] for key in SAME}, overwrite=overwrite)
            rows = edit_table(job.rows(journal), encoders)
        evaluation = found(rows)
        evaluation.write(folder, overwrite=True)
        journal.finish()
    return evaluation


def _origin(recipe: Recipe, context: Context, kinds: Sequence[str]) -> dict[str, Any]:
    """Versions, licences and weights of some of a recipe's components."""
    parts = {path: part for path, part in recipe.parts().items() if path.split(".")[0] in kinds}
    told = provenance(recipe, context.weights, context.device, parts)
    return {key: told[key] for key in ("distributions", "components", "weights")}


def _watching(recipe: Recipe, pose: str | Mapping[str, Any] | None, registry: Registry | None) -> Recipe:
    """The recipe with the pose estimator that looks at what came back, and nothing that turns faces."""
    data = {key: value for key, value in recipe.resolved().items() if key not in ("normalizer", "data", "training")}
    if pose is not None:
        data["pose"] = {"use": pose} if isinstance(pose, str) else dict(pose)
    return load_recipe(data, registry=registry)


def _require_labels(judge: Recipe, data: Judged) -> None:
    if lacking := missing_labels(judge.labels, sorted(set(data.truth))):
        raise FerkitError(
            f"the judge {judge.name} does not know {', '.join(lacking)}, which the data has: choose another judge, or leave "
            "them out (data.drop_labels)"
        )


def _warn_of_estimator(recipe: Recipe, watching: Recipe) -> None:
    told = estimator_of(watching)
    if told is None:
        warnings.warn(
            "nothing tells how far faces are turned: name a pose estimator with --pose (pose=…)", stacklevel=3
        )
    elif told == estimator_of(recipe):
        warnings.warn(
            f"how far faces are turned afterwards is told by {told}, by which the recipe also decides what to turn and to "
            "accept: what deceives the one deceives the other. Name another with --pose (pose=…)",
            stacklevel=3,
        )
