"""``ferkit evaluate-normalizer``: what a recipe's normalizer makes of the faces of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ferkit.cli.common import FAILED, Overrides, RecipeName, parse_overrides, print_table, registry, say
from ferkit.cli.evaluate import BatchSize, Data, Device, Download, Resamples, Seed, Split
from ferkit.cli.longrun import resumable
from ferkit.errors import FerkitError

if TYPE_CHECKING:
    from ferkit.evaluation.normalizer_evaluation import NormalizerEvaluation


def evaluate_normalizer(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report; the same command goes on in it.")],
    data: Data = None,
    split: Split = None,
    overrides: Overrides = None,
    pose: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Pose estimator that tells how far faces are turned before and after, or `{use: NAME, …}`; else the recipe's.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="Recipe whose encoders and head compare the views; else RECIPE itself."),
    ] = None,
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    download: Download = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report, or a journal, of something else.")
    ] = False,
) -> None:
    """Judge a normalizer by itself: does it turn faces, keep expression and person, where does it fail, how long it takes.

    DIR/report.html and report.md are for a person, metrics.json for a program. DIR/edits.parquet has one row an annotated face.

    A run that was stopped goes on with the same command: DIR/edits.partial.jsonl holds what is done until all is.
    """
    from ferkit.evaluation.evaluate_normalizer import JOURNAL
    from ferkit.evaluation.evaluate_normalizer import evaluate_normalizer as run

    with resumable(out / JOURNAL):
        found = run(
            recipe,
            data,
            out,
            parse_overrides(overrides or ()),
            pose=_named(pose),
            judge=judge,
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


def _named(text: str | None) -> Any:
    """A component by its name, or as a recipe has it.

    Raises:
        FerkitError: If it is neither.
    """
    import yaml

    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FerkitError(f"--pose {text}: write NAME, or {{use: NAME, option: value}}") from error


def _tell(found: "NormalizerEvaluation", out: Path) -> None:
    """Print the main figures; of what was unreadable the first."""
    from ferkit.evaluation.edit_report import EXPRESSION, FATE, POSE, expression_rows, fate_rows, headline, pose_rows

    metrics = found.metrics
    print_table(FATE, fate_rows(metrics))
    print_table(POSE, pose_rows(metrics))
    print_table((*EXPRESSION, *(f"cosine {name}" for name in metrics["encoders"])), expression_rows(metrics))
    if metrics["n_unreadable"]:
        first = found.rows.loc[found.rows["error"].notna(), "error"].iloc[0]
        say(f"{metrics['n_unreadable']} pictures can't be read, first: {first}")
    say(f"{headline(metrics)} → {out}")
