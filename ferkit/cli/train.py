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
    from accelerate import PartialState

    from ferkit.decisions import told
    from ferkit.runs import METRICS
    from ferkit.training.checkpoint import NAME
    from ferkit.training.train import train as run

    finished = not overwrite and (out / METRICS).exists()  # if it is of something else, that is an error
    before = _changed(out / NAME)
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
        say(_interrupted(out, overwrite, before, _changed(out / NAME)))
        raise typer.Exit(INTERRUPTED) from None
    if not PartialState().is_main_process:
        return
    if finished:
        say(f"{out}: already finished, nothing done")
        return
    for name, side in metrics["data"].items():
        if "decisions" in side:
            say(f"{name.replace('_', ' ')} {side['decisions']['n']} faces: {told(side['decisions'])}")
        if unfound := side["missed"] - len(side["unreadable"]):
            named = "them" if len(side["missed_ids"]) == unfound else f"the first {len(side['missed_ids'])}"
            say(
                f"no face was found in {unfound} of {side['samples']} pictures: {out / METRICS} names {named} (missed_ids)"
            )
    found = metrics["validation"]
    say(
        f"{out}: accuracy {found['accuracy']:.1%}, UAR {found['uar']:.1%} on {found['n']} held-out faces "
        f"(epoch {metrics['epoch']} of {metrics['epochs']}). Use it: ferkit predict PICTURES --recipe {out}"
    )


def _changed(path: Path) -> int | None:
    """When a file was written, None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def _interrupted(out: Path, overwrite: bool, before: int | None, after: int | None) -> str:
    """What Ctrl-C leaves, by when the checkpoint was written."""
    if after is None or (overwrite and after == before):
        return "interrupted before anything was learnt: there is nothing to go on from, the same command begins anew"
    return f"interrupted; the same command{' without --overwrite' if overwrite else ''} goes on from {out}"
