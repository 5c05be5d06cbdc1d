"""``ferkit evaluate``: a recipe judged by the true labels of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ferkit.cli.common import FAILED, Overrides, parse_overrides, print_table, registry, say
from ferkit.cli.longrun import resumable
from ferkit.errors import FerkitError

if TYPE_CHECKING:
    from ferkit.evaluation.evaluation import Evaluation

Data = Annotated[
    str | None, typer.Option(metavar="NAME:PATH", help="A data set and where it lies; else the recipe's `data`.")
]
Split = Annotated[str | None, typer.Option(help="Of the data; else test, validation, or the only one.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Faces done at once.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Resamples = Annotated[int, typer.Option(min=100, help="Of the bootstrap that gives intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the bootstrap.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch weights that are not on this machine.")]


def evaluate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report; the same command goes on in it.")],
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe's name, file, or a run's folder.")
    ] = None,
    data: Data = None,
    split: Split = None,
    overrides: Overrides = None,
    again: Annotated[
        Path | None,
        typer.Option("--from", metavar="REPORT", help="Score a report's predictions again, without a model."),
    ] = None,
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    download: Download = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report, or a journal, of another recipe or other data.")
    ] = False,
) -> None:
    """Predict every annotated face of a data set, and tell how often that is right: in all, by class, by pose.

    DIR/report.html and report.md are for a person, metrics.json for a program. DIR/predictions.parquet has one row an
    annotated face, missed ones included: all else can be made from it again (--from).

    A run that was stopped goes on with the same command: DIR/predictions.partial.jsonl holds what is done until all is.
    """
    from ferkit.evaluation.evaluate import JOURNAL
    from ferkit.evaluation.evaluate import evaluate as run
    from ferkit.evaluation.evaluation import Evaluation

    if again is not None:
        if recipe or data or split or overrides:
            raise FerkitError("--from scores predictions that are there: leave out RECIPE, --data, --split and --set")
        found = Evaluation.read(again, resamples=resamples, seed=seed)
        found.write(out, overwrite=overwrite or again.resolve() == out.resolve())
        _tell(found, out)
        return
    if recipe is None:
        raise FerkitError("name a recipe or a run, or --from and a report")
    with resumable(out / JOURNAL):
        found = run(
            recipe,
            data,
            out,
            parse_overrides(overrides or ()),
            split=split,
            device=device,
            batch_size=batch_size,
            resamples=resamples,
            seed=seed,
            overwrite=overwrite,
            registry=registry(),
            download=download,
        )
    _tell(found, out)
    if found.metrics["n_unreadable"]:
        raise typer.Exit(FAILED)


def _tell(found: "Evaluation", out: Path) -> None:
    """Print the main figures; of what was unreadable the first."""
    from ferkit.evaluation.report import SUMMARY, headline, summary_cells

    metrics = found.metrics
    bins = [[name, *summary_cells(each)] for name, each in metrics["by_yaw"].items() if each["n"]]
    print_table(("|yaw|", *SUMMARY), [["all", *summary_cells(metrics)], *bins])
    if metrics["n_unreadable"]:
        first = found.rows.loc[found.rows["error"].notna(), "error"].iloc[0]
        say(f"{metrics['n_unreadable']} pictures can't be read, first: {first}")
    say(f"{headline(metrics)} → {out}")
