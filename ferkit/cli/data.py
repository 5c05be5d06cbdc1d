"""``ferkit data``: checks data sets, and shows their faces in other poses."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ferkit.cli.common import FAILED, Overrides, parse_overrides, print_table, registry, say, shown
from ferkit.cli.longrun import named_folder, resumable
from ferkit.errors import FerkitError
from ferkit.text import how_many

if TYPE_CHECKING:
    from ferkit.datasets.checking import Findings
    from ferkit.interfaces import Dataset

SHOWN = 5
app = typer.Typer(no_args_is_help=True, help="Check data sets, and show their faces in other poses.")


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


@app.command("pose-augment")
def pose_augment(
    data: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set and where it lies.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for images/ and manifest.csv.")],
    yaw: Annotated[str, typer.Option(metavar="DEGREES", help="Such as -75,-45,45,75; + is to the image's right.")],
    pitch: Annotated[str, typer.Option(metavar="DEGREES", help="Likewise; + is up.")] = "0",
    roll: Annotated[str, typer.Option(metavar="DEGREES", help="Likewise; + is clockwise.")] = "0",
    copies: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="N random poses a face between the least and the greatest angles; else each."
        ),
    ] = None,
    vary: Annotated[
        bool, typer.Option("--vary", help="Vary background, light, camera, surface and place: for faces to learn from.")
    ] = False,
    originals: Annotated[
        bool, typer.Option("--originals", help="Name the faces themselves in the manifest, too, where they are.")
    ] = False,
    split: Annotated[list[str] | None, typer.Option(help="Of the data; may be repeated. Else all.")] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32, max=1024, help="Side of the pictures in pixels. Else 112 of crops, 224 of faces in scenes."
        ),
    ] = None,
    max_yaw: Annotated[
        float, typer.Option(min=0, max=60, help="Leave out faces that are turned further: half of them is not seen.")
    ] = 30,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="RECIPE", help="Whose detector, pose estimator and normalizer.")
    ] = "frontal",
    overrides: Overrides = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is random.")] = 0,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in DIR.")] = False,
) -> None:
    """Show faces of a data set in known poses, with their labels: to probe a recognizer, or to learn from.

    DIR/manifest.csv names a picture a face and pose, with exact yaw, pitch and roll, by which `ferkit evaluate
    --data manifest:DIR/manifest.csv` tells accuracy. Such faces are synthetic: the source's pixels on the source's own mesh.
    The copies of a face are one group. Faces that are not found, have no pose, or are turned already beyond --max-yaw are left
    out, and named in DIR/left_out.csv.

    A run that was stopped goes on with the same command: DIR/pose-augment.partial.jsonl holds what is done until all is.
    """
    from ferkit.posed_set import JOURNAL, LEFT_OUT, MANIFEST
    from ferkit.posing import Poses, pose_augment

    folder = named_folder(out, "--out")
    poses = Poses(_angles(yaw, "--yaw"), _angles(pitch, "--pitch"), _angles(roll, "--roll"), copies, vary, seed)
    with resumable(folder / JOURNAL):
        count, is_crop = pose_augment(
            data,
            folder,
            poses,
            recipe,
            parse_overrides(overrides or ()),
            splits=split,
            size=size,
            max_yaw=max_yaw,
            originals=originals,
            device=device,
            overwrite=overwrite,
            registry=registry(),
        )
    out_of = ", ".join(f"{n:,} {reason}" for reason, n in count.items() if reason not in ("samples", "faces", "copies"))
    left = f"; left out: {out_of}, named in {folder / LEFT_OUT}" if out_of else ""
    say(f"{how_many(count['copies'], 'picture')} of {how_many(count['faces'], 'face')}{left}")
    crops = " --set data.crops=true" if is_crop else ""
    say(f"use them as --data manifest:{folder / MANIFEST}{crops}")
    if count["unreadable"]:
        raise typer.Exit(FAILED)


def _angles(text: str, option: str) -> tuple[float, ...]:
    """Angles separated by commas.

    Raises:
        FerkitError: If one is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise FerkitError(f"{option} {text}: write degrees separated by commas, such as -45,0,45") from None


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
