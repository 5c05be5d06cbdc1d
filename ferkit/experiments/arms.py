"""The arms of the paper's ablation: what each changes in one recipe, and which can't be run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from ferkit.errors import FerkitError, RecipeError
from ferkit.recipe import Recipe, load_recipe
from ferkit.registry import Registry, default_registry

Changes = dict[str, Any]
VIEWS = {
    "aligned": "faces as they are",
    "frontal": "turned faces in place of those beyond the gate",
    "both": "turned faces beside those beyond the gate",
}
PARTS = {
    "visual": "CLIP's image tower",
    "text": "CLIP's image tower and class texts",
    "fused": "CLIP's image tower, class texts and the ViT",
}
GRID = tuple(f"{view}-{part}" for view, part in product(VIEWS, PARTS))
BASELINE, PAPER = "aligned-visual", "both-fused"
WARPS: Mapping[str, Changes] = {
    "mesh-frontal": {"pose.use": "mesh"},  # it is made for that estimator's landmarks
    "mirror": {"normalizer.accept": None},  # it turns nothing that could be accepted
}
"""Cheap normalizers that can stand in for the editor, the better first, and what else a recipe needs for them."""
TURNS_NOTHING = "the recipe has no normalizer (--set normalizer=null)"
POSER = "mesh-frontal"
"""The normalizer that shows faces in other poses, where an arm learns from these."""
NO_POSER = f"it needs the plugin of the normalizer {POSER} (ferkit-mesh)"


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        name: Of its folder, too.
        what: In a few words.
        recipe: To be trained and judged; None where it can't be run.
        reason: Why it can't.
        poser: Recipe that shows what the arm learns from in other poses, too; None: it learns from the data alone.
    """

    name: str
    what: str
    recipe: Recipe | None
    reason: str = ""
    poser: Recipe | None = None


def arms_of(base: Recipe, registry: Registry | None = None, *, seed: int = 0) -> list[Arm]:
    """Every arm, the grid first, then the controls, which change one thing in :data:`PAPER`, the last in ``aligned-fused``.

    Args:
        base: With encoders ``clip`` and ``vit`` and ``data``, such as the recipe ``paper-rafdb``.
        registry: Where components are looked up; the installed plugins by default.
        seed: Of every arm's recipe.

    Raises:
        FerkitError: If an arm is no valid recipe; it names the arm.
    """

    def arm(name: str, what: str, changes: Changes) -> Arm:
        turns = changes.get("normalizer", {}) is not None
        if turns and base.normalizer is None:
            return Arm(name, what, None, TURNS_NOTHING)
        own = {"name": f"{base.name}-{name}", "description": what, "seed": seed}
        try:
            return Arm(name, what, load_recipe(base.resolved(), {**own, **changes}, registry=registry))
        except RecipeError as error:
            raise FerkitError(f"arm {name}: {error}") from error

    grid = [
        arm(f"{view}-{part}", f"{VIEWS[view]}; {PARTS[part]}", {**_view(view), **_part(base, part)})
        for view, part in product(VIEWS, PARTS)
    ]
    controls = [
        arm(f"control-{name}", what, {**_view("both"), **changes}) for name, what, changes in _controls(registry)
    ]
    name, what = "control-pose-augmentation", "faces as they are; copies with turned heads are learnt from, too"
    if POSER not in _normalizers(registry):
        return [*grid, *controls, Arm(name, what, None, NO_POSER)]
    poser = arm(name, what, {"pose": {"use": "mesh"}, "normalizer": None, "training": None})
    posing = {"normalizer": {"use": POSER, "samples": 1, "accept": None}}
    assert poser.recipe is not None
    poses = load_recipe(poser.recipe.resolved(), posing, registry=registry)
    return [*grid, *controls, replace(arm(name, what, _view("aligned")), poser=poses)]


def chosen(arms: Sequence[Arm], patterns: Sequence[str]) -> list[Arm]:
    """The arms whose names match any of ``patterns``, such as ``aligned-*``; all of them without patterns.

    Raises:
        FerkitError: If a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(arm.name, pattern) for arm in arms):
            raise FerkitError(f"--arms {pattern}: there is no such arm, choose {', '.join(arm.name for arm in arms)}")
    return [arm for arm in arms if not patterns or any(fnmatchcase(arm.name, pattern) for pattern in patterns)]


def _view(view: str) -> Changes:
    return {"normalizer": None} if view == "aligned" else {"normalizer.keep": view}


def _part(base: Recipe, part: str) -> Changes:
    if part == "fused":
        return {}
    learn = base.framework.training.learn if base.framework.training else None
    changes: Changes = {"encoders.vit": None}
    if isinstance(learn, dict) and "vit" in learn:
        changes["training.learn.vit"] = None
    if part == "visual":  # a head that needs no text, and nothing that is learnt from text
        changes |= {"encoders.clip.text": False, "head": {"use": "mlp", "dropout": 0.1}}
        changes |= {"training.objectives.image_text": 0.0}
    return changes


def _controls(registry: Registry | None) -> list[tuple[str, str, Changes]]:
    """Name, description and changes of the controls that a normalizer makes."""
    untouched = {"normalizer.accept": None, "normalizer.samples": 1}
    warp = _warp(registry)
    return [
        (
            "resample",
            "no rotation: faces beyond the gate only lose and regain resolution",
            {"normalizer.use": "resample", **untouched},
        ),
        ("edited-frontal", "every face is edited, frontal ones too (gate at 0 degrees)", {"normalizer.above_yaw": 0}),
        (
            "warp",
            f"a cheap warp in place of the editor: {warp}",
            {"normalizer.use": warp, "normalizer.samples": 1, **WARPS[warp]},
        ),
    ]


def _warp(registry: Registry | None) -> str:
    """The best of :data:`WARPS` that is installed."""
    installed = _normalizers(registry)
    return next(name for name in WARPS if name in installed)


def _normalizers(registry: Registry | None) -> set[str]:
    """Names of those that are installed."""
    return {item.component.name for item in (registry or default_registry()).components("normalizer")}
