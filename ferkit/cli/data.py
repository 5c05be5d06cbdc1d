"""``ferkit data``: looks at data sets."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ferkit.cli.common import FAILED, Overrides, parse_overrides, print_table, registry, shown

if TYPE_CHECKING:
    from ferkit.datasets.checking import Findings
    from ferkit.interfaces import Dataset

SHOWN = 5
app = typer.Typer(no_args_is_help=True, help="Check a data set on disk.")


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set and where it lies.")],
    overrides: Overrides = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only look whether pictures are there and not empty, decode none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ids: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the ids of each split to DIR/SPLIT.txt, one a line.")
    ] = None,
) -> None:
    """Compare a data set with what was published of it, and read every picture.

    Other counts than the published ones are shown, and are no error. Exits 1 where a picture is missing or can't be read, a box
    lies far beyond its picture, or several samples have one id and differ; 2 where the data can't be opened.
    """
    from ferkit.datasets import build_dataset
    from ferkit.recipe import load_data

    dataset = build_dataset(load_data(data, parse_overrides(overrides or ()), registry=registry()))
    findings = _watched(dataset, fast)
    if ids:
        _write_ids(dataset, ids)
    if as_json:
        import json

        typer.echo(json.dumps({"data": data, "fast": fast, **findings.as_dict()}, indent=2, ensure_ascii=False))
    else:
        _print(findings, fast)
    if not findings.sound:
        raise typer.Exit(FAILED)


def _watched(dataset: "Dataset", fast: bool) -> "Findings":
    """Check with a bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ferkit.datasets.checking import check

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)
        return check(dataset, fast=fast, advance=lambda done, total: bar.update(task, completed=done, total=total))


def _write_ids(dataset: "Dataset", folder: Path) -> None:
    from ferkit.writers import replacing

    folder.mkdir(parents=True, exist_ok=True)
    for split in dataset.splits:
        with replacing(folder / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{sample.id}\n" for sample in dataset.samples(split)), encoding="utf-8")


def _print(findings: "Findings", fast: bool) -> None:
    rows = [
        (
            count.split or "all splits",
            "all" if count.label is None else count.label or "no label",
            f"{count.n:,}",
            "" if count.published is None else f"{count.published:,}",
            "" if count.published in (None, count.n) else f"{count.n - count.published:+,}",
        )
        for count in findings.counts
    ]
    print_table(("split", "label", "n", "published", "difference"), rows)
    looked = "are not there or empty" if fast else "can't be read"
    _list("missing pictures", [f"{name}: {path}" for name, path in findings.missing])
    _list(f"pictures that {looked}", [f"{name}: {why}" for name, why in findings.unreadable])
    _list("boxes far beyond their picture", [f"{name}: {why}" for name, why in findings.boxes])
    _list("ids that several samples have", findings.duplicates)
    _list("pictures without annotation", findings.unannotated)
    for remark in findings.remarks:
        _list(remark.what, remark.where)
    if findings.empty:
        typer.echo(f"nothing of what was published as {', '.join(findings.empty)} is here")
    if findings.sound:
        how = "there" if fast else "there and can be read"
        typer.echo(f"every picture is {how}, no face is there with two labels")
    if findings.terms:
        typer.echo(f"terms: {findings.terms}")


def _list(what: str, places: Sequence[str]) -> None:
    """The first of several places, after how many there are."""
    if places:
        typer.echo(f"{what}: {len(places):,}")
        for place in places[:SHOWN]:
            typer.echo(f"  {shown(place)}")
        if len(places) > SHOWN:
            typer.echo(f"  … and {len(places) - SHOWN:,} more (--json lists all)")
