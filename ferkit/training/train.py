"""``ferkit.train``: from a recipe and data to a run."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    LoggerType,
    broadcast_object_list,
)
from torch import Tensor

from ferkit.cache import Cache, digest
from ferkit.datasets.naming import Data, recipe_with_data
from ferkit.errors import FerkitError
from ferkit.interfaces import Context
from ferkit.missing_weights import require_weights
from ferkit.pipelines import Pipeline, pipeline
from ferkit.provenance import provenance
from ferkit.recipe import Recipe, RecipeSource, load_recipe
from ferkit.recognizer import Recognizer
from ferkit.registry import Registry
from ferkit.runs import write_run
from ferkit.training import checkpoint
from ferkit.training.card import card
from ferkit.training.folder import BEST, RunFolder, read_from, training_digest
from ferkit.training.gathering import Gathered, gather
from ferkit.training.learner import Learner, changed
from ferkit.training.live import Live, Quiet, Watcher
from ferkit.training.metrics import by_class
from ferkit.training.objectives import balanced_weights
from ferkit.training.options import Training
from ferkit.training.source import CLEAN, FeatureSource, ViewSource
from ferkit.training.teaching import taught
from ferkit.training.trainer import Source, Trainer
from ferkit.weights import WeightsStore, sha256


def train(
    recipe: RecipeSource = "default",
    data: Data | None = None,
    out: str | PathLike[str] = "runs/run",
    overrides: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    overwrite: bool = False,
    registry: Registry | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train what a recipe's ``training.learn`` names, and write a run.

    The same call goes on where an interrupted one stopped, bit for bit; on a finished run it does nothing.

    Args:
        recipe: As for :func:`ferkit.pipeline`.
        data: ``"name:path"`` of a data set, or the recipe's ``data`` as a mapping; None: what the recipe has.
        out: Folder of the run.
        overrides: Nested or dotted keys on top of the recipe.
        device: ``"cpu"`` keeps off a GPU; None: what accelerate chooses.
        overwrite: Whether a run that is in ``out`` is replaced, once its successor begins; other files there stay.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        progress: Whether a live view is drawn on stderr; None: if that is a terminal.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        RecipeError: If the recipe is wrong.
        FerkitError: If data or options don't fit, the loss is no number, ``out`` holds another run,
            or another process trains there.
        KeyboardInterrupt: After Ctrl-C, with a checkpoint written.
    """
    loaded = recipe_with_data(recipe, data, overrides, registry)
    training = loaded.framework.training or Training()
    folder = Path(out)
    accelerator = _accelerator(training, device, folder)
    key = training_digest(loaded)
    sources, teacher, store = read_from(loaded), None, WeightsStore(download)
    taught_by = training.teacher if training.objectives.distillation else None
    if taught_by:
        sources |= read_from(load_recipe(taught_by, registry=registry))
    shown = sys.stderr.isatty() if progress is None else progress
    main = accelerator.is_main_process
    with (
        nullcontext() if main else warnings.catch_warnings(action="ignore"),  # the main process tells them
        RunFolder(folder, key, overwrite, sources) if main else nullcontext() as run,
        Live(training) if shown and main else Quiet() as live,
    ):
        if found := broadcast_object_list([run.finished if run else None])[0]:
            return _unchanged(dict(found), loaded, folder, accelerator, live, store)
        if taught_by:
            teacher = pipeline(taught_by, device=accelerator.device, registry=registry, download=download)
        return _trained(loaded, training, folder, run, accelerator, live, key, store, teacher, registry)


def _trained(
    recipe: Recipe,
    training: Training,
    folder: Path,
    run: RunFolder | None,
    accelerator: Accelerator,
    live: Watcher,
    key: str,
    weights: WeightsStore,
    teacher: Pipeline | None,
    registry: Registry | None,
) -> dict[str, Any]:
    require_weights(recipe, weights, option="`ferkit train --download`, in Python download=True")
    seed, cache = recipe.framework.seed, Cache()
    context = Context(accelerator.device, torch.float32, seed, recipe.labels, weights, training=True)
    torch.manual_seed(seed)
    learner = Learner(recipe, context).to(accelerator.device)  # before the data is looked at: what can't learn says so
    cached = learner.frozen and training.cache_features
    if cached and training.augment.mixup:
        raise FerkitError(
            "training.augment.mixup blends pixels, and features of frozen encoders are cached without them: let an encoder "
            f"learn, training.learn: {{{next(iter(recipe.encoders))}: 1}}; or set cache_features to false, or mixup to 0"
        )
    if recipe.normalizer and recipe.normalization.keep == "both" and training.augment.mixup:
        raise FerkitError(
            "training.augment.mixup blends faces of one view each, and normalizer.keep: both gives two: change one of them"
        )
    with accelerator.main_process_first():  # the others find its views in the cache
        learn, judge = gather(recipe, replace(context, training=False), cache, live.task)
        soft = taught(teacher, learn.prepared, recipe, context, cache, live) if teacher else None
    if training.objectives.contrastive and not any(sample.caption for sample in learn.prepared.samples):
        raise FerkitError("training.objectives.contrastive needs captions, and no sample has one: set it to 0")
    if training.class_weights == "balanced":
        learner.weigh(balanced_weights(learn.shares))
    views = ViewSource(learn.prepared, learn.shares, training, seed, soft)
    held_out = ViewSource(judge.prepared, judge.shares, training, seed)
    sources: tuple[Source, Source] = (views, held_out)
    if cached:
        draws = range(training.draws) if training.draws else (CLEAN,)
        with accelerator.main_process_first():
            sources = (
                _cached(views, recipe, learner, cache, live, draws),
                _cached(held_out, recipe, learner, cache, live, (CLEAN,)),
            )
    data = _data_digest(learn, judge)
    trainer = Trainer(learner, *sources, judge.missed, training, seed, folder, accelerator, live, key, data)
    if run:
        run.begin()  # not before all that can be wrong with it is known
    accelerator.wait_for_everyone()
    if training.trackers:
        accelerator.init_trackers("ferkit", config={"recipe": recipe.name, "digest": key})
    history = trainer.run()
    probabilities, truth = trainer.probabilities()
    best = trainer.state.progress.best
    assert best is not None
    kept = best[1] if training.keep == "best" else len(history) - 1
    metrics = {
        "recipe": recipe.name,
        "training_digest": key,
        "data_digest": data,
        "validation": history[kept]["validation"],
        "recall": by_class(probabilities, truth, judge.missed, recipe.labels),
        "epoch": kept + 1,
        "epochs": len(history),
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "data": {"learnt_from": learn.summary() | _untaught(soft), "judged_by": judge.summary()},
        "provenance": provenance(recipe, weights, accelerator.device),
    }
    learnt = changed(learner, trainer.optimizer.state)
    head = learner.head.state_dict() if learner.has_head else {}
    del trainer
    accelerator.free_memory()
    learner.release()  # what was written is read again: not both at once, and no optimizer beside it
    if accelerator.is_main_process:
        check = partial(_read_again, folder, registry, context)
        metrics = write_run(folder, recipe, head, learnt, metrics, card(recipe, metrics), weights.used, check)
        for name in (BEST, checkpoint.NAME):
            (folder / name).unlink(missing_ok=True)
    metrics = dict(broadcast_object_list([metrics])[0])
    accelerator.end_training()  # nobody can be waited for after it
    return metrics


def _unchanged(
    metrics: dict[str, Any],
    recipe: Recipe,
    folder: Path,
    accelerator: Accelerator,
    live: Watcher,
    weights: WeightsStore,
) -> dict[str, Any]:
    """The metrics of a finished run, whose data is still the same."""
    context = Context(accelerator.device, torch.float32, recipe.framework.seed, recipe.labels, weights)
    with accelerator.main_process_first():
        learn, judge = gather(recipe, context, Cache(), live.task)
    if metrics["data_digest"] != _data_digest(learn, judge):
        raise FerkitError(
            f"{folder} is a finished run, and its data has changed since: name another --out, or begin anew with --overwrite"
        )
    return metrics


def _data_digest(learn: Gathered, judge: Gathered) -> str:
    """Of faces and targets."""
    return digest([learn.fingerprint(), judge.fingerprint()])


def _untaught(soft: Tensor | None) -> dict[str, int]:
    """How many faces the teacher did not find, where there is one."""
    return {} if soft is None else {"not_found_by_teacher": int(soft.isnan().any(1).sum())}


def _read_again(folder: Path, registry: Registry | None, context: Context) -> None:
    """Build what was learnt from the run, as a pipeline does, while there is a checkpoint to go on from.

    Raises:
        FerkitError: If it can't be read.
    """
    try:
        Recognizer(load_recipe(folder, registry=registry), replace(context, device=torch.device("cpu"), training=False))
    except FerkitError as error:
        raise FerkitError(
            f"{folder} was written and can't be read again ({error}): its checkpoint is kept; this is a fault of ferkit "
            "or of a component, please report it"
        ) from error


def _cached(
    views: ViewSource, recipe: Recipe, learner: Learner, cache: Cache, live: Watcher, draws: Sequence[int]
) -> FeatureSource:
    """Features of views, from frozen encoders."""
    component = recipe.head.registered.component
    advance = live.task("features", len(views) * len(draws))
    return FeatureSource(
        views,
        learner.recognizer,
        _encoders_digest(recipe),
        cache,
        draws,
        "tokens" in component.needs | component.uses,
        advance,
    )


def _encoders_digest(recipe: Recipe) -> str:
    """Of what decides the encoders' output."""
    store = WeightsStore()
    return digest(
        [
            [name, part.registered.qualified, part.registered.version, part.config.model_dump(mode="json")]
            + [sha256(store.checked(reference)) for reference in part.weights]
            for name, part in recipe.encoders.items()
        ]
        + [list(recipe.labels)]
    )


def _accelerator(training: Training, device: str | None, folder: Path) -> Accelerator:
    if device not in (None, "cpu", "cuda"):
        raise FerkitError(
            f"device {device!r}: training runs on cpu or cuda; accelerate launch chooses among several GPUs"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise FerkitError("device cuda was asked for, but this torch finds no CUDA GPU")
    precision = "no" if training.precision == "fp32" else training.precision
    if precision == "fp16" and not (torch.cuda.is_available() and device != "cpu"):
        raise FerkitError("training.precision fp16 needs a GPU: choose bf16 or fp32")
    _check_trackers(training.trackers)
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a classifier beside the path that is used
    patient = InitProcessGroupKwargs(timeout=timedelta(days=7))  # the others wait while the first prepares the data
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=precision,
            log_with=list(training.trackers) or None,
            project_dir=str(folder),
            kwargs_handlers=[unused, patient],
        )
    except ValueError as error:  # accelerate keeps both for as long as the process lives
        raise FerkitError(
            "device and training.precision can't change within one Python process: start another"
        ) from error
    if device not in (None, accelerator.device.type):
        raise FerkitError(f"device {device}: this Python process has trained on {accelerator.device}: start another")
    return accelerator


def _check_trackers(names: Sequence[str]) -> None:
    """Check that accelerate knows the trackers, and has what they need."""
    known = {str(name) for name in LoggerType} - {"all"}
    if unknown := [name for name in names if name not in known]:
        raise FerkitError(f"training.trackers: {unknown[0]!r} is none of {', '.join(sorted(known))}")
    there = {str(tracker) for tracker in get_available_trackers()}
    if missing := [name for name in names if name not in there]:
        raise FerkitError(f"training.trackers: {missing[0]} is not installed: pip install {missing[0]}")
