"""``ferkit.evaluate``: from a recipe and data to an evaluation."""

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ferkit.datasets.naming import Data, recipe_with_data
from ferkit.evaluation.collecting import Job, finished
from ferkit.evaluation.data import judged, warn_of_learnt
from ferkit.evaluation.evaluation import Evaluation
from ferkit.evaluation.pose import estimator_of
from ferkit.evaluation.predicting import Predictor
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import PREDICTIONS, read_rows, table
from ferkit.journal import Journal
from ferkit.pipelines import Pipeline, find_device
from ferkit.recipe import RecipeSource
from ferkit.registry import Registry
from ferkit.weights import WeightsStore

if TYPE_CHECKING:
    from pandas import DataFrame

JOURNAL = "predictions.partial.jsonl"
SAME = ("recipe_digest", "distributions", "weights", "data")
"""What of the provenance must be the same for an evaluation to go on: its journal looks at each picture itself."""

FINISHED = (*SAME, "pictures")
"""What must be the same for a finished one to be scored again."""


def evaluate(
    recipe: RecipeSource = "default",
    data: Data | None = None,
    out: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 16,
    resamples: int = 10_000,
    seed: int = 0,
    overwrite: bool = False,
    registry: Registry | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> Evaluation:
    """Judge a recipe by the true labels of a data set, face by face, missed faces included.

    With ``out`` the same call goes on where an interrupted one stopped; where it was finished, its predictions are scored
    again.

    Args:
        recipe: As for :func:`ferkit.pipeline`.
        data: ``"name:path"`` of a data set, or a recipe's ``data`` as a mapping; None: what the recipe has.
        out: Folder for the report; None: nothing is written.
        overrides: Nested or dotted keys on top of the recipe.
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
        RecipeError: If the recipe is wrong.
        FerkitError: If the data does not fit, or ``out`` holds a report of another recipe or other data.
    """
    Bootstrap(resamples, seed)  # what can't be drawn says so before hours of work
    loaded = recipe_with_data(recipe, data, overrides, registry)
    chosen = judged(loaded, split)
    warn_of_learnt(recipe, loaded, chosen, registry)
    fer = Pipeline(loaded, device=find_device(device), dtype=torch.float32, weights=WeightsStore(download))
    provenance = {
        **fer.provenance,
        "resolved_recipe": loaded.resolved(),
        "data": chosen.summary(),
        "pictures": chosen.pictures(),
        "pose": {
            "estimator": estimator_of(loaded),
            "of": "the picture as it was; the data set's where it knows it",
        },
    }
    job = Job(Predictor(fer, chosen.is_crop, batch_size), chosen, progress)
    if out is None:
        return _evaluation(table(job.rows(), loaded.labels), provenance, resamples, seed)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / JOURNAL) as journal:
        rows = None if overwrite or len(journal) else finished(folder, PREDICTIONS, read_rows, provenance, FINISHED)
        if rows is None:
            journal.begin({key: provenance[key] for key in SAME}, overwrite=overwrite)
            rows = table(job.rows(journal), loaded.labels)
        evaluation = _evaluation(rows, provenance, resamples, seed)
        evaluation.write(folder, overwrite=True)
        journal.finish()
    return evaluation


def _evaluation(rows: "DataFrame", provenance: dict[str, Any], resamples: int, seed: int) -> Evaluation:
    """The figures, and warnings of what makes them doubtful."""
    found = Evaluation.of(rows, provenance, resamples=resamples, seed=seed)
    metrics = found.metrics
    whole = metrics["flags"].get("whole_image", 0)
    if whole and not provenance["data"]["crops"]:
        warnings.warn(
            f"{whole} of {metrics['n']} faces are whole pictures, which the data does not call crops: if they are, say so "
            "(data.crops=true), else choose a detector that looks",
            stacklevel=3,
        )
    if not metrics["n_scored"]:
        warnings.warn(
            f"nothing was scored: of {metrics['n']} pictures {metrics['n_unreadable']} can't be read, and in the others no face "
            "was found; are they cropped to faces? Then say so (data.crops=true)",
            stacklevel=3,
        )
    return found
