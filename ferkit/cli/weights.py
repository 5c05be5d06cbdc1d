"""``ferkit weights``: what weights a recipe leads to, where they are, and that they are the right ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from ferkit.cli.common import FAILED, Overrides, RecipeName, load, print_table, say, size
from ferkit.errors import WeightsError

if TYPE_CHECKING:
    from ferkit.weights import Reference

app = typer.Typer(no_args_is_help=True, help="List, fetch and verify the weights of a recipe.")


@dataclass(frozen=True)
class _File:
    """A reference to weights, with the licence its component states."""

    text: str
    reference: "Reference"
    licence: str


def _files(recipe: str, overrides: list[str] | None) -> list[_File]:
    """Every file of weights a recipe leads to, each once."""
    files: dict[str, _File] = {}
    for part in load(recipe, overrides).parts().values():
        component = part.registered.component
        for reference in part.weights:
            text = str(reference)
            files.setdefault(text, _File(text, reference, component.weights_licence or "not stated"))
    if not files:
        say(f"{recipe} loads no weights")
    return list(files.values())


@app.command("list")
def list_(recipe: RecipeName, overrides: Overrides = None) -> None:
    """List the weights of a recipe: reference, digest, whether they are here and how large, licence."""
    from ferkit.weights import WeightsStore, stored_bytes

    store = WeightsStore()
    rows = []
    for file in _files(recipe, overrides):
        place = file.text.partition("#sha256=")[0]
        found = store.locate(file.reference)
        state = ("present", size(stored_bytes(found))) if found else ("missing", "")
        rows.append((place, file.reference.sha256 or "not pinned", *state, file.licence))
    if rows:
        print_table(("weights", "SHA-256", "state", "size", "licence"), rows)


@app.command()
def fetch(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Download the weights of a recipe that are not here, and check every digest."""
    from ferkit.weights import WeightsStore, offline

    if offline():
        raise WeightsError("FERKIT_OFFLINE forbids downloads: unset it, or copy the files into the hub's cache")
    store = WeightsStore(download=True)
    for file in _files(recipe, overrides):
        typer.echo(store.checked(file.reference))


@app.command()
def verify(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Check the digest of every weight file of a recipe: ok, altered or missing."""
    from ferkit.weights import WeightsStore, sha256

    store = WeightsStore()
    rows = []
    for file in _files(recipe, overrides):
        path = store.locate(file.reference)
        if path is None:
            state = "missing"
        elif file.reference.sha256 is None:
            state = f"not pinned: add #sha256={sha256(path)}"
        else:
            state = "ok" if sha256(path) == file.reference.sha256 else "altered"
        rows.append((file.text.partition("#sha256=")[0], state))
    if rows:
        print_table(("weights", "state"), rows)
    if any(state in ("missing", "altered") for _, state in rows):
        raise typer.Exit(FAILED)


@app.command()
def path(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Print where the weights of a recipe are, one path a line."""
    from ferkit.weights import WeightsStore

    store = WeightsStore()
    missing = []
    for file in _files(recipe, overrides):
        found = store.locate(file.reference)
        if found is None:
            missing.append(file.text)
        else:
            typer.echo(found)
    for text in missing:
        say(f"missing: {text} (ferkit weights fetch {recipe})")
    if missing:
        raise typer.Exit(FAILED)
