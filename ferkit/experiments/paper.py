"""Chen et al., J. Imaging 2026, 12(1), 24: the ablation that tells what turning faces and adding text are worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferkit.datasets.naming import recipe_with_data
from ferkit.errors import FerkitError
from ferkit.evaluation.compare import is_report
from ferkit.evaluation.document import write_report
from ferkit.evaluation.resampling import Bootstrap
from ferkit.experiments.arms import BASELINE, Arm, arms_of, chosen
from ferkit.experiments.report import blocks
from ferkit.experiments.results import adjust, figures, over_seeds
from ferkit.experiments.running import REPORT, Runner, error_of
from ferkit.recipe import Recipe
from ferkit.registry import Registry

RESULTS = "results.json"
DONE, FAILED, NOT_RUN = "done", "failed", "not run"


@dataclass(frozen=True)
class Published:
    """What the paper reports on a data set, and how ferkit's recipe for it is set.

    Attributes:
        recipe: A shipped one.
        accuracy: A share.
        n: Pictures it is of, where that is known.
        interval: Wilson's 95 % interval for one run on these.
        options: Below the user's own overrides.
    """

    recipe: str
    accuracy: float
    n: int | None
    interval: tuple[float, float] | None
    options: Mapping[str, Any]


PUBLISHED = {
    "rafdb": Published("paper-rafdb", 0.8939, 3068, (0.8825, 0.9043), {}),
    "expw": Published("paper-expw", 0.6717, None, None, {"data.validation": "validation"}),
    "affectnet": Published("paper-affectnet7", 0.6266, 3500, (0.6104, 0.6425), {"data.classes": 7}),
}


def published_for(data: str) -> Published:
    """What the paper reports on ``data``, written ``NAME:PATH``.

    Raises:
        FerkitError: If it reports nothing on that.
    """
    name = data.partition(":")[0]
    if name not in PUBLISHED:
        raise FerkitError(
            f"--data {data}: the paper reports on {', '.join(PUBLISHED)}; write one of these as NAME:PATH"
        )
    return PUBLISHED[name]


def plan(data: str, overrides: Mapping[str, Any], registry: Registry | None = None, *, seed: int = 0) -> list[Arm]:
    """All arms on ``data``.

    Args:
        data: ``NAME:PATH``.
        overrides: Nested or dotted keys, on top of the shipped recipe and below what an arm changes.
        registry: Where components are looked up; the installed plugins by default.
        seed: Of every arm.

    Raises:
        RecipeError: If an override is wrong.
        FerkitError: If there is no such data, or an override is of the seed.
    """
    target = published_for(data)
    base = recipe_with_data(target.recipe, data, {**target.options, **overrides}, registry)
    if base.framework.seed:
        raise FerkitError("the override seed: arms have the seeds 0, 1, …, and --seeds says how many; leave it out")
    return arms_of(base, registry, seed=seed)


def reproduce_paper(
    data: str,
    out: Path,
    overrides: Mapping[str, Any],
    *,
    arms: Sequence[str] = (),
    seeds: int = 1,
    device: str | None = None,
    resamples: int = 10_000,
    registry: Registry | None = None,
    download: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train and judge the arms that are not done yet, and tell of all that are.

    Args:
        data: ``rafdb:PATH``, ``expw:PATH`` or ``affectnet:PATH``.
        out: Folder; the same call goes on in it.
        overrides: Nested or dotted keys on top of every arm's recipe.
        arms: Patterns of the arms to run, such as ``aligned-*``; none: all.
        seeds: How often each arm is run, with the seeds 0, 1, ….
        device: ``cpu`` or ``cuda``; None: what is there.
        resamples: Of the bootstrap, at least 100.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        tell: Is told what begins and what failed.

    Returns:
        What ``results.json`` holds.

    Raises:
        RecipeError: If an override is wrong.
        FerkitError: If the data is wrong, or ``out`` holds another experiment.
    """
    bootstrap = Bootstrap(resamples)
    runner = Runner(device, resamples, registry, download, tell)
    plans = [plan(data, overrides, registry, seed=seed) for seed in range(seeds)]
    for seed, every in enumerate(plans):
        for arm, recipe in _runnable(every):
            runner.check(recipe, folder_of(out, arm.name, seed))
    for seed, every in enumerate(plans):
        for arm, recipe in _runnable(chosen(every, arms)):
            runner.run(recipe, folder_of(out, arm.name, seed), arm.poser)
    results = _gathered(data, out, plans, bootstrap)
    write_report(out, blocks(results), RESULTS, results)
    return results


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """Where an arm lies: that of seed 0 in its own folder, others inside of it."""
    folder = out / "arms" / arm
    return folder / f"seed-{seed}" if seed else folder


def _runnable(arms: Sequence[Arm]) -> list[tuple[Arm, Recipe]]:
    return [(arm, arm.recipe) for arm in arms if arm.recipe]


def _gathered(data: str, out: Path, plans: Sequence[Sequence[Arm]], bootstrap: Bootstrap) -> dict[str, Any]:
    """The figures of all arms that are done, whichever call did them."""
    target = published_for(data)
    found: dict[str, dict[str, Any]] = {
        arm.name: {"what": arm.what, "state": NOT_RUN, "reason": arm.reason or "not asked for", "runs": []}
        for arm in plans[0]
    }
    for seed, every in enumerate(plans):
        baseline = folder_of(out, BASELINE, seed) / REPORT
        against = baseline if is_report(baseline) else None
        for arm in every:
            each, folder = found[arm.name], folder_of(out, arm.name, seed)
            if is_report(folder / REPORT):
                each["runs"].append({"seed": seed, **figures(folder / REPORT, against, bootstrap)})
            elif error := error_of(folder):
                each |= {"state": FAILED, "reason": f"seed {seed}: {error}"}
        adjust([run for each in found.values() for run in each["runs"] if run["seed"] == seed])
    for each in found.values():
        if each["runs"] and each["state"] != FAILED:
            each |= {"state": DONE, "reason": ""}
        each["over_seeds"] = over_seeds(each["runs"])
    return {
        "data": data,
        "recipe": target.recipe,
        "published": {"accuracy": target.accuracy, "n": target.n, "interval": target.interval},
        "baseline": BASELINE,
        "bootstrap": {"resamples": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level},
        "arms": found,
    }
