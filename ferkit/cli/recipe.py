"""``ferkit recipe``: check, show, diff and schema. None of them imports a component's code."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ferkit.cli.common import Overrides, RecipeName, load, print_table, registry, size
from ferkit.errors import FerkitError

if TYPE_CHECKING:
    from ferkit.recipe import Part, Recipe

app = typer.Typer(no_args_is_help=True, help="Check, show and compare recipes.")


class Use(StrEnum):
    """What results are meant for."""

    COMMERCIAL = "commercial"


@app.command()
def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    use: Annotated[Use | None, typer.Option(help="Fail where a licence forbids this use.")] = None,
) -> None:
    """Validate a recipe; print its components with the licences of their code and weights."""
    loaded = load(recipe, overrides)
    rows = []
    for path, part in loaded.parts().items():
        owner, component = part.registered, part.registered.component
        rows.append((path, owner.qualified, owner.version, component.licence, *_weights(path, part)))
    print_table(("part", "component", "version", "licence", "weights licence", "weights"), rows)
    if use is Use.COMMERCIAL:
        _refuse_non_commercial(loaded)


def _weights(path: str, part: "Part") -> tuple[str, str]:
    """Licence and state of the weights of the component at ``path``."""
    from ferkit.components import weight_fields
    from ferkit.weights import WeightsStore, stored_bytes

    component = part.registered.component
    if not part.weights:
        unset = [f"{path}.{field}" for field in weight_fields(type(part.config))]
        return component.weights_licence or "-", f"not set: {', '.join(unset)}" if unset else "-"
    places = {reference: WeightsStore().locate(reference) for reference in part.weights}
    missing = [reference for reference, place in places.items() if place is None]
    state = f"{len(missing)} of {len(places)} missing" if missing else "present"
    if here := [place for place in places.values() if place]:
        state += f", {size(sum(map(stored_bytes, here)))}{' here' if missing else ''}"
    if any(reference.scheme in ("hf", "https") for reference in missing):
        state += ": ferkit weights fetch"
    return component.weights_licence or "not stated", state


def _refuse_non_commercial(recipe: "Recipe") -> None:
    refused = [
        f"  {path}: {part.registered.qualified} (code {part.registered.component.licence}, weights "
        f"{part.registered.component.weights_licence or 'not stated'})"
        for path, part in recipe.parts().items()
        if not part.registered.component.commercial
    ]
    if refused:
        raise FerkitError("\n".join(["not for commercial use; replace these components:", *refused]))


@app.command()
def show(
    recipe: RecipeName,
    overrides: Overrides = None,
    origins: Annotated[bool, typer.Option("--origins", help="Print where each value was written.")] = False,
) -> None:
    """Print a recipe resolved: everything it extends and every default filled in, as a recipe again."""
    import yaml

    loaded = load(recipe, overrides)
    if not origins:
        text = yaml.safe_dump(
            loaded.resolved(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
        )
        typer.echo(text, nl=False)
        return
    written = _flat(loaded.layer.data)
    rows = []
    for path, value in _flat(loaded.resolved()).items():
        keys = tuple(path.split("."))
        rows.append((path, _text(value), str(loaded.layer.origin(keys)) if path in written else "-"))
    print_table(("key", "value", "written in"), rows)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A recipe.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The recipe to compare it with; --set changes this one.")],
    overrides: Overrides = None,
) -> None:
    """Print what differs between two resolved recipes, a line a value."""
    first, second = _flat(load(a, None).resolved()), _flat(load(b, overrides).resolved())
    for path in dict.fromkeys([*first, *second]):
        before, after = (_text(values[path]) if path in values else "absent" for values in (first, second))
        if before != after:
            typer.echo(f"{path}: {before} → {after}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, made from the installed components: editors complete and check with it."""
    import json

    from ferkit.schema import recipe_schema

    typer.echo(json.dumps(recipe_schema(registry()), indent=2, ensure_ascii=False))


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted path; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
