"""The model card of a run."""

from collections.abc import Mapping
from typing import Any

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

{recipe.framework.description or "A facial expression recognition pipeline"}: a run of ferkit, to be used wherever a recipe is,
`ferkit predict --recipe FOLDER PICTURES`.

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

## Result on the held-out samples

Epoch {metrics["epoch"]} of {metrics["epochs"]}{chosen}. n = {found["n"]}; {found["missed"]} of them without a face found
count as wrong.

accuracy {found["accuracy"]:.1%}, UAR {found["uar"]:.1%}, macro-F1 {found["macro_f1"]:.1%}

| label | n | recall |
|---|---|---|
{recalls}
"""
