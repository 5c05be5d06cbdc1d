"""``ferkit train``: from a recipe and data to a run."""

from pathlib import Path
from typing import Annotated

import typer

from ferkit.cli.common import INTERRUPTED, Overrides, RecipeName, parse_overrides, registry, say


def train(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run; the same command goes on in it.")],
    data: Annotated[
        str | None, typer.Option(metavar="NAME:PATH", help="A data set and where it lies; else the recipe's `data`.")
    ] = None,
    overrides: Overrides = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; else what is there.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in that folder, once its successor begins.")
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch weights that are not on this machine.")] = False,
) -> None:
    """Train a recipe on a data set. After Ctrl-C the same command goes on where it stopped."""
    from ferkit.runs import METRICS
    from ferkit.training.train import train as run

    finished = not overwrite and (out / METRICS).exists()  # if it is of something else, that is an error
    try:
        metrics = run(
            recipe,
            data,
            out,
            parse_overrides(overrides or ()),
            device=device,
            overwrite=overwrite,
            registry=registry(),
            download=download,
            progress=True,
        )
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on from {out}")
        raise typer.Exit(INTERRUPTED) from None
    if finished:
        say(f"{out}: already finished, nothing done")
        return
    for side in metrics["data"].values():
        if side["missed"]:
            say(
                f"no face was found in {side['missed']} of {side['samples']} pictures, {len(side['unreadable'])} of which "
                f"can't be read: {out / 'metrics.json'} names these"
            )
    found = metrics["validation"]
    say(
        f"{out}: accuracy {found['accuracy']:.1%}, UAR {found['uar']:.1%} on {found['n']} held-out faces "
        f"(epoch {metrics['epoch']} of {metrics['epochs']}). Use it: ferkit predict PICTURES --recipe {out}"
    )
