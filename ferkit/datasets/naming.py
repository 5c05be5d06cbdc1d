"""Data named beside a recipe, as on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferkit.errors import FerkitError
from ferkit.recipe import Recipe, RecipeSource, load_recipe
from ferkit.registry import Registry

Data = str | Mapping[str, Any]
"""``"name:path"`` of a data set, or the recipe's ``data`` as a mapping."""


def recipe_with_data(
    recipe: RecipeSource, data: Data | None, overrides: Mapping[str, Any] | None, registry: Registry | None = None
) -> Recipe:
    """The recipe with its overrides, and ``data`` in place of its own.

    Raises:
        RecipeError: If the recipe is wrong.
        FerkitError: If ``data`` is no ``name:path``.
    """
    over = dict(overrides or {})
    if isinstance(data, str):
        name, colon, path = data.partition(":")
        if not (name and colon and path):
            raise FerkitError(f"--data {data}: write NAME:PATH, such as fer2013:/data/fer2013")
        over |= {"data.use": name, "data.path": str(Path(path).absolute())}
    elif data is not None:
        over |= {f"data.{key}": value for key, value in data.items()}
    return load_recipe(recipe, over, registry=registry)
