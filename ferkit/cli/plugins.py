"""``ferkit plugins``: what is installed, and what failed to load."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ferkit.cli.common import print_table, registry
from ferkit.errors import FerkitError


def plugins(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List components and recipes with their distributions and licences, and plugins that failed to load."""
    rows = listing()
    if as_json:
        import json

        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = ("kind", "name", "distribution", "version", "licence", "weights licence", "summary")
    print_table(columns, [[row[column.replace(" ", "_")] for column in columns] for row in rows])


def listing() -> list[dict[str, Any]]:
    """One row a component, a recipe and a failure (kinds ``recipe`` and ``failed``), all with the same keys."""
    installed = registry()
    rows = [
        _row(
            r.component.kind,
            r.component.name,
            r.distribution,
            r.version,
            r.component.summary,
            licence=r.component.licence,
            weights_licence=r.component.weights_licence,
        )
        for r in installed.components()
    ]
    versions = {plugin.distribution: plugin.version for plugin in installed.plugins}
    for distribution, path in installed.recipe_files():
        rows.append(_row("recipe", path.stem, distribution, versions[distribution], _description(path)))
    for failure in installed.failures:
        rows.append(_row("failed", failure.entry_point, failure.distribution, failure.version, failure.summary))
    return rows


def _row(
    kind: str, name: str, distribution: str, version: str, summary: str, licence: str = "", weights_licence: str = ""
) -> dict[str, Any]:
    return {
        "distribution": distribution,
        "version": version,
        "kind": kind,
        "name": name,
        "summary": summary,
        "licence": licence,
        "weights_licence": weights_licence,
    }


def _description(path: Path) -> str:
    from ferkit.layers import read_file

    try:
        return str(read_file(path).data.get("description", ""))
    except FerkitError as error:
        return str(error).replace("\n", " ")
