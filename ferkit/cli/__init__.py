"""The command line. A module is imported when its command runs, heavy ones inside the command's function."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import ferkit
from ferkit.cli import (
    cache,
    compare,
    data,
    evaluate,
    evaluate_normalizer,
    normalize,
    plugins,
    predict,
    recipe,
    reproduce,
    train,
    weights,
)
from ferkit.cli.common import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Facial expression recognition in extreme poses, from components swapped by a recipe.",
    epilog="Exit codes: 0 all read, 1 some inputs failed, 2 usage or recipe error, 130 interrupted.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ferkit {ferkit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("predict")(predict.predict)
app.command("normalize")(normalize.normalize)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("evaluate-normalizer")(evaluate_normalizer.evaluate_normalizer)
app.command("compare")(compare.compare)
app.command("plugins")(plugins.plugins)
app.add_typer(data.app, name="data")
app.add_typer(recipe.app, name="recipe")
app.add_typer(reproduce.app, name="reproduce")
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")


def main() -> None:
    """Run the command line: the console script ``ferkit``."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        getattr(sys, name).reconfigure(errors="backslashreplace")  # a file name that is no Unicode must not end a run
    app(prog_name="ferkit")
