"""``ferkit reproduce``: published experiments, run again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ferkit.cli.common import FAILED, Overrides, parse_overrides, print_table, registry, say
from ferkit.cli.evaluate import BatchSize, Download, Resamples
from ferkit.cli.longrun import terminated_as_interrupted

if TYPE_CHECKING:
    from ferkit.experiments.arms import Arm

app = typer.Typer(no_args_is_help=True, help="Run published experiments again.")


@app.command()
def paper(
    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="rafdb, expw or affectnet, and where it lies.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for all of it; the same command goes on in it.")],
    arms: Annotated[
        str, typer.Option(metavar="A,B", help="Only these arms, by name or pattern, as in 'aligned-*'; else all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How often each arm is trained, with seeds from 0 up.")] = 1,
    overrides: Overrides = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; else what is there.")] = None,
    resamples: Resamples = 10_000,
    download: Download = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the arms and the weights that are missing, and stop.")
    ] = False,
) -> None:
    """Train and judge the ablation of Chen et al. 2026: {aligned, frontal, both} x {visual, text, fused}, with controls.

    DIR/report.html and report.md are for a person, results.json for a program; DIR/arms/NAME holds each arm's recipe, run and
    report. --set acts on every arm, before what the arm itself changes.

    A run that was stopped goes on with the same command; arms that are done are not repeated. An arm that fails is told,
    the others go on, and the command exits 1.
    """
    from ferkit.experiments.paper import FAILED as ARM_FAILED
    from ferkit.experiments.paper import plan, reproduce_paper

    given, wanted = parse_overrides(overrides or ()), [name for name in arms.split(",") if name]
    if dry_run:
        from ferkit.experiments.arms import chosen

        _tell_plan(chosen(plan(data, given, registry()), wanted))
        return
    with terminated_as_interrupted():
        try:
            results = reproduce_paper(
                data,
                out,
                given,
                arms=wanted,
                seeds=seeds,
                device=device,
                resamples=resamples,
                registry=registry(),
                download=download,
                tell=say,
            )
        except KeyboardInterrupt:
            say(f"interrupted: what is done is in {out}; the same command goes on from there")
            raise
    from ferkit.experiments.report import ARMS, DIFFERENCES, arm_rows, difference_rows, published_rows

    print_table(("", "accuracy", "n"), published_rows(results))
    print_table(ARMS, arm_rows(results))
    if differences := difference_rows(results):
        print_table(DIFFERENCES, differences)
    say(f"→ {out / 'report.html'}")
    if any(each["state"] == ARM_FAILED for each in results["arms"].values()):
        raise typer.Exit(FAILED)


def _tell_plan(arms: "list[Arm]") -> None:
    from ferkit.weights import WeightsStore

    store, missing = WeightsStore(), dict[str, str]()
    for arm in arms:
        for part in arm.recipe.parts().values() if arm.recipe else ():
            for reference in part.weights:
                if not store.locate(reference):
                    missing.setdefault(str(reference), part.name)
    print_table(("arm", "is", "not run, because"), [(arm.name, arm.what, arm.reason) for arm in arms])
    print_table(("missing weights", "of"), list(missing.items()))
    say(f"{sum(arm.recipe is not None for arm in arms)} arms can be run; {len(missing)} weights are missing")


@app.command("clip-anchors")
def clip_anchors(
    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="rafdb, affectnet or ferplus, and where it lies.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the reports; the same command goes on in it.")
    ] = None,
    overrides: Overrides = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    batch_size: BatchSize = 64,
    download: Download = False,
) -> None:
    """Judge CLIP's three sizes zero-shot, and hold them beside published values: is everything set up right?

    Exits 1 where one is more than 1.5 points off, and says where to look.
    """
    from ferkit.experiments import anchors as found

    with terminated_as_interrupted():
        anchors = found.clip_anchors(
            data,
            out,
            parse_overrides(overrides or ()),
            device=device,
            batch_size=batch_size,
            registry=registry(),
            download=download,
            tell=say,
        )
    print_table(found.HEADER, found.rows(anchors))
    off = sum(not each.holds for each in anchors)
    if off:
        say(f"{off} of {len(anchors)} are more than {found.TOLERANCE} points off; {found.causes()}")
        raise typer.Exit(FAILED)
    say(f"all {len(anchors)} within {found.TOLERANCE} points{f' → {out}' if out else ''}")
