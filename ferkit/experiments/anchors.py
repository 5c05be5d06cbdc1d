"""Published zero-shot results of CLIP: whoever has the weights and a data set checks the whole path with them.

The values are those that Zhao et al. (Exp-CLIP, WACV 2025) report of CLIP as OpenAI published it: UAR and WAR, which is accuracy.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferkit.datasets.naming import recipe_with_data
from ferkit.errors import FerkitError
from ferkit.evaluation.document import Block, Table, Text, Title, write_report
from ferkit.labels import EIGHT, SEVEN
from ferkit.recipe import load_recipe
from ferkit.registry import Registry

TOLERANCE = 1.5
"""Points that ours may be off."""
MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
PROMPT = "a photo of a face with an expression of {label}."
CAUSES = (
    "preprocessing: mean and standard deviation (the released test code of Exp-CLIP applies neither), resize",
    "tokenizer",
    "prompts: which one the table was made with is not stated",
    "label order",
    "alignment: the crops that the published values are of",
)
"""Why ours may differ, the likely ones first."""
ANCHORS = "anchors.json"
Pair = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """Published values on a data set.

    Attributes:
        name: Of data and classes.
        labels: Of the classes.
        options: Of the data set.
        published: UAR and WAR in percent, in the order of :data:`MODELS`.
    """

    name: str
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    published: tuple[Pair, Pair, Pair]


SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "rafdb": (Setting("rafdb", SEVEN, {}, ((34.97, 30.05), (38.66, 37.16), (47.22, 41.13))),),
    "affectnet": (
        Setting("affectnet-7", SEVEN, {"data.classes": 7}, ((29.29, 29.29), (34.35, 34.35), (34.46, 34.47))),
        Setting("affectnet-8", EIGHT, {"data.classes": 8}, ((25.53, 25.53), (29.38, 29.38), (29.96, 29.96))),
    ),
    "ferplus": (Setting("ferplus", EIGHT, {}, ((36.05, 33.89), (34.33, 45.14), (33.82, 46.67))),),
}


@dataclass(frozen=True)
class Anchor:
    """Ours beside the published, in percent.

    Attributes:
        setting: Data and classes.
        model: CLIP's.
        n: Faces that ours is of.
        uar: Ours.
        war: Ours, over all faces; a missed one is wrong.
        published_uar: Theirs.
        published_war: Theirs.
    """

    setting: str
    model: str
    n: int
    uar: float
    war: float
    published_uar: float
    published_war: float

    @property
    def holds(self) -> bool:
        """Whether both are within :data:`TOLERANCE` points."""
        apart = (self.uar - self.published_uar, self.war - self.published_war)
        return all(round(abs(points), 9) <= TOLERANCE for points in apart)


def compared(setting: Setting, model: str, metrics: Mapping[str, Any]) -> Anchor:
    """An evaluation's metrics beside what was published; a UAR of no scored face is 0."""
    uar, war = setting.published[MODELS.index(model)]
    ours = (100 * (metrics["uar"] or 0.0), 100 * (metrics["accuracy_all"] or 0.0))
    return Anchor(setting.name, model, metrics["n"], *ours, uar, war)


def settings_for(data: str) -> tuple[Setting, ...]:
    """The published values on ``data``, written ``NAME:PATH``.

    Raises:
        FerkitError: If there are none.
    """
    name = data.partition(":")[0]
    if name not in SETTINGS:
        raise FerkitError(
            f"--data {data}: there are anchors for {', '.join(SETTINGS)}; write one of these as NAME:PATH"
        )
    return SETTINGS[name]


def recipe_of(
    setting: Setting, model: str, data: str, overrides: Mapping[str, Any], registry: Registry | None = None
) -> dict[str, Any]:
    """The recipe ``clip-zero-shot``, as the published values ask for it, as a mapping.

    Faces are those that the data is annotated with, so none is missed, and none is turned upright.

    Raises:
        RecipeError: If an override is wrong.
    """
    own = {
        "name": f"clip-anchor-{setting.name}-{model}",
        "labels": list(setting.labels),
        "detector": {"use": "given"},
        "pose": None,
        "align": {"size": 224, "margin": 0.0, "method": "box"},
        "prompts": {"templates": [PROMPT], "words": None},
        "encoders.clip": {"model": model, "pretrained": "openai"},
    }
    recipe = load_recipe("clip-zero-shot", own, registry=registry).resolved()
    return recipe_with_data(recipe, data, {**setting.options, **overrides}, registry).resolved()


def clip_anchors(
    data: str,
    out: Path | None,
    overrides: Mapping[str, Any],
    *,
    device: str = "cpu",
    batch_size: int = 64,
    resamples: int = 1000,
    registry: Registry | None = None,
    download: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Anchor]:
    """Judge CLIP's three sizes, zero-shot, on the test split of ``data``.

    Args:
        data: ``rafdb:PATH``, ``affectnet:PATH`` or ``ferplus:PATH``.
        out: Folder of the reports, in which the same call goes on; None: nothing is written.
        overrides: Nested or dotted keys on top of the recipes.
        device: Where to compute.
        batch_size: Faces done at once.
        resamples: Of the bootstrap in the reports.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        tell: Is told what begins.

    Returns:
        One a model and setting.

    Raises:
        RecipeError: If an override is wrong.
        FerkitError: If the data is wrong, weights are missing, or ``out`` holds another report.
    """
    from ferkit.evaluation.evaluate import evaluate

    runs = [(setting, model) for setting in settings_for(data) for model in MODELS]
    recipes = [recipe_of(setting, model, data, overrides, registry) for setting, model in runs]
    anchors = []
    for (setting, model), recipe in zip(runs, recipes, strict=True):
        tell(f"{setting.name}, {model}")
        found = evaluate(
            recipe,
            out=None if out is None else out / setting.name / model,
            device=device,
            batch_size=batch_size,
            resamples=resamples,
            registry=registry,
            download=download,
        )
        anchors.append(compared(setting, model, found.metrics))
    if out is not None:
        _write(out, anchors)
    return anchors


HEADER = ("data", "model", "n", "UAR", "published", "WAR", "published", f"within {TOLERANCE}")


def rows(anchors: list[Anchor]) -> list[list[str]]:
    """The cells below :data:`HEADER`."""
    return [
        [
            each.setting,
            each.model,
            str(each.n),
            *(f"{value:.2f}" for value in (each.uar, each.published_uar, each.war, each.published_war)),
            "yes" if each.holds else "NO",
        ]
        for each in anchors
    ]


def causes() -> str:
    """Where to look, in one line."""
    return "likely causes, in this order: " + "; ".join(f"{place}. {cause}" for place, cause in enumerate(CAUSES, 1))


def _write(out: Path, anchors: list[Anchor]) -> None:
    """The pages, then ``anchors.json``."""
    content: list[Block] = [
        Title("CLIP's zero-shot anchors", 1),
        Text(
            f"Percent. Prompt: {PROMPT} Published by Zhao et al. (Exp-CLIP, WACV 2025) of CLIP as OpenAI published it."
        ),
        Table(HEADER, rows(anchors)),
        *([] if all(each.holds for each in anchors) else [Text(causes())]),
    ]
    found = {
        "prompt": PROMPT,
        "tolerance": TOLERANCE,
        "anchors": [{**asdict(each), "holds": each.holds} for each in anchors],
    }
    write_report(out, content, ANCHORS, found)
