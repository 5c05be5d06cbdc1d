"""What the commands share: errors as text and exit code, ``--set``, and printing."""

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ferkit.errors import FerkitError, NoFaceError, StageError

if TYPE_CHECKING:
    from rich.console import Console

    from ferkit.recipe import Recipe
    from ferkit.registry import Registry

FAILED, USAGE, INTERRUPTED = 1, 2, 130

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, a YAML file, or a run's folder.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; null removes. May be repeated."),
]


class Commands(TyperGroup):
    """Commands whose errors on purpose are printed without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; map errors to exit codes, and print a warning as a line."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _say_warning
                return super().invoke(ctx)
        except (NoFaceError, StageError) as error:  # of a picture or a component at work, not of the command
            say(f"error: {error}")
            raise typer.Exit(FAILED) from None
        except FerkitError as error:
            say(f"error: {error}")
            raise typer.Exit(USAGE) from None
        except BrokenPipeError:
            raise typer.Exit(FAILED) from None
        except OSError as error:
            say(f"error: {error}")
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def say(text: str) -> None:
    """Print to stderr."""
    typer.echo(text, err=True)


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")


def shown(text: str) -> str:
    """``text`` with all that is not printable escaped: file names may hold newlines and worse."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def console() -> "Console":
    """Where tables go. What reads from a pipe gets whole lines, whatever their length."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(shown(cell), overflow="fold") for cell in row))
    console().print(table)


def registry() -> "Registry":
    """The installed plugins."""
    from ferkit.registry import default_registry

    return default_registry()


def load(recipe: str, overrides: Sequence[str] | None) -> "Recipe":
    """The validated recipe with its overrides.

    Raises:
        RecipeError: With every problem.
        FerkitError: If an override can't be understood, or there is no such recipe.
    """
    from ferkit.recipe import load_recipe

    return load_recipe(recipe, parse_overrides(overrides or ()), registry=registry())


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts as overrides; values are YAML, so that ``null``, numbers and ``[a, b]`` mean what they say.

    Raises:
        FerkitError: If one has no ``=``, or its value is no YAML.
    """
    import yaml

    overrides = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise FerkitError(f"--set {text}: write KEY=VALUE, such as --set align.size=112")
        try:
            overrides[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise FerkitError(f"--set {text}: the value is no YAML ({reason}); quote it") from error
    return overrides
