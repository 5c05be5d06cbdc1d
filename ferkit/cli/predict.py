"""``ferkit predict``: photos in, a table of faces out."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ferkit.cli.common import FAILED, Overrides, load
from ferkit.cli.copies import Copies
from ferkit.cli.inputs import arguments, find
from ferkit.cli.longrun import (
    Inputs,
    LongRun,
    in_order,
    marked,
    named_folder,
    readable,
    terminated_as_interrupted,
)
from ferkit.cli.report import Report, print_faces, tally
from ferkit.errors import FerkitError, ImageError
from ferkit.journal import NO_FACE, Journal, Mark, Record, plain
from ferkit.writers import check_format, replacing, write_csv, write_table

if TYPE_CHECKING:
    from ferkit.pipelines import Pipeline
    from ferkit.types import Predictions


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATHS", help="Pictures, folders, patterns; - reads paths from standard input."),
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A recipe's name, file, or a run's folder.")
    ] = "default",
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write faces to a .csv, .jsonl (with landmarks) or .parquet.")
    ] = None,
    annotate: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write a copy of each picture with its faces drawn in.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures held in memory at once.")] = 16,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT, or a journal begun with another recipe.")
    ] = False,
) -> None:
    """Find faces and tell their expressions.

    Without --out a table is printed. With it, OUT holds one line a face, OUT.errors.csv what could not be read and
    pictures without a face, OUT.meta.json where the results come from.

    A run that was stopped goes on with the same command: OUT.partial.jsonl holds what is done until all is. A picture
    is done again if its file has changed, or could not be read before.
    """
    if out is not None:
        _check_out(out)
    loaded = load(recipe, overrides)
    given = list(arguments(paths))
    inputs = find(given)
    copies = None if annotate is None else Copies(named_folder(annotate, "--annotate"), given, readable(inputs))
    from ferkit.pipelines import pipeline

    def job(landmarks: bool) -> _Job:
        return _Job(pipeline(loaded, device=device), copies, batch_size, landmarks)

    with terminated_as_interrupted():
        if out is None:
            count = _to_terminal(job(landmarks=False), inputs)
        else:
            with Journal(_beside(out, "partial.jsonl")) as journal:
                count = _to_file(job(landmarks=out.suffix.lower() == ".jsonl"), inputs, out, journal, overwrite)
    if count["failed"]:
        raise typer.Exit(FAILED)


def _check_out(out: Path) -> None:
    check_format(out)
    if not out.parent.is_dir():
        raise FerkitError(f"{out}: there is no folder {out.parent}: make it first")
    if out.is_dir():
        raise FerkitError(f"{out} is a folder: name a file")


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")


@dataclass(frozen=True)
class _Job:
    """A pipeline at work on files."""

    pipeline: "Pipeline"
    copies: Copies | None
    batch_size: int
    landmarks: bool

    def run(self, sources: Iterable[str]) -> Iterator[Record]:
        """One record a source, in order, lazily. Its annotated copy is there before the record is."""
        for source, seen, predictions in marked(sources, partial(self.pipeline.stream, batch_size=self.batch_size)):
            yield self._record(source, seen, predictions)

    def _record(self, source: str, seen: Mark | None, predictions: "Predictions") -> Record:
        info = predictions.images[0]
        if info.error:
            return Record(source, seen, [], (info.error_kind or "unreadable", info.error))
        if self.copies:
            try:
                self.copies.save(source, predictions)
            except ImageError as error:  # it was there a moment ago
                return Record(source, seen, [], (error.kind, str(error)))
        rows = [plain(row) for row in predictions.to_dicts(self.landmarks)]
        return Record(source, seen, rows, None if rows else (NO_FACE, "no face was found"))


def _to_terminal(job: _Job, inputs: Inputs) -> Counter[str]:
    """Print a table, also of what was done before an interruption."""
    report, count, rows = Report(), Counter[str](), list[dict[str, Any]]()
    try:
        for record in in_order(inputs, job.run(readable(inputs))):
            report.add(record)
            tally(count, record)
            rows += record.rows
    finally:
        if rows:
            print_faces(rows)
        report.summary(count)
    return count


def _to_file(job: _Job, inputs: Inputs, out: Path, journal: Journal, overwrite: bool) -> Counter[str]:
    """Write OUT and what stands beside it, by way of the journal."""
    origin = job.pipeline.provenance
    run = LongRun(
        out=out,
        inputs=inputs,
        journal=journal,
        header={key: origin[key] for key in ("recipe_digest", "distributions", "weights")},
        work=job.run,
        complete=lambda source: job.copies is None or job.copies.exists(source),
        finish=lambda: _finish(run, job.pipeline),
        batch_size=job.batch_size,
        overwrite=overwrite,
        details=f"{out}.errors.csv",
    )
    return run()


def _finish(run: LongRun, pipeline: "Pipeline") -> Counter[str]:
    """Write errors, provenance and, last, OUT, so that where it is the others are."""
    count = Counter[str]()

    def errors() -> Iterator[dict[str, str]]:
        for record in run.records():
            tally(count, record)
            if record.error:
                kind, message = record.error
                yield {"source": record.source, "kind": kind, "message": message}

    with replacing(_beside(run.out, "errors.csv")) as path:
        write_csv(path, errors(), ("source", "kind", "message"))
    with replacing(_beside(run.out, "meta.json")) as path:
        meta = {"counts": count, "provenance": pipeline.provenance}
        path.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    rows = (row for record in run.records() for row in record.rows)
    write_table(run.out, rows, pipeline.recipe.labels)
    return count
