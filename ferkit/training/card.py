"""The model card of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferkit.decisions import told
from ferkit.recipe import Recipe


def card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """Markdown that says what was trained, on what, and how good it came out."""
    found, data = metrics["validation"], metrics["data"]
    recalls = "\n".join(f"| {label} | {row['n']} | {row['recall']:.1%} |" for label, row in metrics["recall"].items())
    parts = "\n".join(
        f"| {path} | {part.registered.qualified} | {part.registered.component.weights_licence or '-'} |"
        for path, part in recipe.parts().items()
    )
    sides = "\n".join(
        f"| {name} | {side['samples']} | {side['missed']} | {len(side['unreadable'])} |"
        for name, side in (("learnt from", data["learnt_from"]), ("held out", data["judged_by"]))
    )
    source = recipe.data.name if recipe.data else "unknown data"
    training = recipe.framework.training
    kept_last = training is not None and training.keep == "last"
    chosen = "" if kept_last else ", chosen on these samples, so that the figures flatter"
    return f"""# {recipe.name}

A run of ferkit: of the recipe `{recipe.name}`{_parents(recipe)}, {_learnt(recipe)} learnt on {source}.
It is used wherever a recipe is, `ferkit predict --recipe FOLDER PICTURES`.

It names {len(recipe.labels)} expressions: {", ".join(recipe.labels)}. It reads the look of a face, not what a person feels.

## Components

| part | component | licence of its weights |
|---|---|---|
{parts}

What was learnt here carries no licence of its own yet: that of the data ({source}) and of the weights above decide.

## Data

| {source} | samples | without a face found | unreadable |
|---|---|---|---|
{sides}

Split: `{recipe.selection.split}`; held out: `{recipe.selection.validation}` (a share is of the subjects or groups, seed
{recipe.framework.seed}).
{_turned(data)}{_seen(recipe)}
## Result on the held-out samples

Epoch {metrics["epoch"]} of {metrics["epochs"]}{chosen}. n = {found["n"]}; {found["missed"]} of them without a face found
count as wrong.

accuracy {found["accuracy"]:.1%}, UAR {found["uar"]:.1%}, macro-F1 {found["macro_f1"]:.1%}

| label | n | recall |
|---|---|---|
{recalls}
"""


def _turned(data: Mapping[str, Any]) -> str:
    """What the normalizer made of the faces, where there is one."""
    if "decisions" not in data["learnt_from"]:
        return ""
    learnt, held = (data[side].get("decisions", {"n": 0}) for side in ("learnt_from", "judged_by"))
    return f"""
What the normalizer made of the faces; where it failed or was rejected, the aligned view stands in:

* learnt from (n = {learnt["n"]}): {told(learnt)}
* held out (n = {held["n"]}): {told(held)}
"""


def _learnt(recipe: Recipe) -> str:
    """What learnt, in words."""
    learn = recipe.framework.training.learn if recipe.framework.training else "head"
    names = recipe.encoders if learn == "all" else () if learn == "head" else learn
    return " and ".join([f"the head `{recipe.head.name}`", *(f"the encoder `{name}`" for name in names)])


def _parents(recipe: Recipe) -> str:
    """The recipes and runs that it extends."""
    names = [f"`{Path(parent).name}`" for parent in recipe.layer.parents]
    return f", which extends {' and '.join(names)}" if names else ""


def _seen(recipe: Recipe) -> str:
    """A caution where the held-out samples are known to the weights that the run began with."""
    names = {part.name for part in recipe.encoders.values()}
    if not (
        recipe.data
        and recipe.data.name == "fer2013"
        and "nano" in names
        and recipe.selection.validation != "validation"
    ):
        return ""
    return """
**`nano` has seen the training split of FER2013**, and a share of that is held out here: the figures below flatter. Judge by
`data: {validation: validation}`, PublicTest.
"""
