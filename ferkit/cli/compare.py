"""``ferkit compare``: two reports, or two recipes, on the same faces."""

from pathlib import Path
from typing import Annotated

import typer

from ferkit.cli.common import Overrides, parse_overrides, print_table, registry, say
from ferkit.cli.evaluate import BatchSize, Data, Device, Download, Resamples, Seed, Split
from ferkit.cli.longrun import resumable


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="What stands before: a report's folder; with --data a recipe or a run.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What comes after, likewise.")],
    data: Data = None,
    split: Split = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the comparison, and the reports of recipes in a/ and b/."),
    ] = None,
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    download: Download = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in DIR.")] = False,
) -> None:
    """Tell how B differs from A on the same faces, paired by their ids: with intervals, by pose, and whom it harms.

    Reports of ferkit evaluate need no model and no data. Recipes are evaluated first; --set acts on both.
    """
    from ferkit.evaluation.compare import compare as run
    from ferkit.evaluation.evaluate import JOURNAL
    from ferkit.evaluation.report_of_comparison import BINS, bin_rows, difference_rows, flips, unpaired

    with resumable(*((out / "a" / JOURNAL, out / "b" / JOURNAL) if out else ())):
        found = run(
            a,
            b,
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
    print_table(("", "A", "B", "B - A, points"), difference_rows(found.metrics))
    print_table(BINS, bin_rows(found.metrics))
    say(f"{unpaired(found.metrics)}; {flips(found.metrics)}{f' → {out}' if out else ''}")
