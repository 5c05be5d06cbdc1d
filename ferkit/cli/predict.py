"""``ferkit predict``: photos in, a table of faces out."""

import json
import math
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ferkit.cli.common import FAILED, Overrides, load, say
from ferkit.cli.copies import Copies
from ferkit.cli.inputs import arguments, find
from ferkit.cli.report import Report, print_faces, progress, tally
from ferkit.errors import FerkitError, ImageError
from ferkit.journal import NO_FACE, Journal, Mark, Record, mark
from ferkit.writers import check_format, replacing, write_csv, write_table

if TYPE_CHECKING:
    from ferkit.pipelines import Pipeline
    from ferkit.types import Predictions

Inputs = dict[str, ImageError | None]


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
    copies = None if annotate is None else Copies(_folder(annotate), given, _readable(inputs))
    from ferkit.pipelines import pipeline

    def job(landmarks: bool) -> _Job:
        return _Job(pipeline(loaded, device=device), copies, batch_size, landmarks)

    with _terminated_as_interrupted():
        if out is None:
            count = _to_terminal(job(landmarks=False), inputs)
        else:
            with Journal(_beside(out, "partial.jsonl")) as journal:
                count = _to_file(job(landmarks=out.suffix.lower() == ".jsonl"), inputs, out, journal, overwrite)
    if count["failed"]:
        raise typer.Exit(FAILED)


def _folder(text: str) -> Path:
    if not text:  # Path("") is the working folder
        raise FerkitError("--annotate: an empty path names no folder: is a variable unset?")
    return Path(text)


def _check_out(out: Path) -> None:
    check_format(out)
    if not out.parent.is_dir():
        raise FerkitError(f"{out}: there is no folder {out.parent}: make it first")
    if out.is_dir():
        raise FerkitError(f"{out} is a folder: name a file")


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")


def _readable(inputs: Inputs) -> list[str]:
    return [source for source, error in inputs.items() if error is None]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Job:
    """A pipeline at work on files."""

    pipeline: "Pipeline"
    copies: Copies | None
    batch_size: int
    landmarks: bool

    def run(self, sources: Iterable[str]) -> Iterator[Record]:
        """One record a source, in order, lazily. Its annotated copy is there before the record is."""
        waiting: deque[tuple[str, Mark | None]] = deque()

        def marked() -> Iterator[str]:
            for source in sources:
                waiting.append((source, mark(source)))  # before it is read, so that a later change is noticed
                yield source

        for predictions in self.pipeline.stream(marked(), batch_size=self.batch_size):
            yield self._record(*waiting.popleft(), predictions)

    def _record(self, source: str, seen: Mark | None, predictions: "Predictions") -> Record:
        info = predictions.images[0]
        if info.error:
            return Record(source, seen, [], (info.error_kind or "unreadable", info.error))
        if self.copies:
            try:
                self.copies.save(source, predictions)
            except ImageError as error:  # it was there a moment ago
                return Record(source, seen, [], (error.kind, str(error)))
        rows = [_known(row) for row in predictions.to_dicts(self.landmarks)]
        return Record(source, seen, rows, None if rows else (NO_FACE, "no face was found"))


def _known(value: Any) -> Any:
    """Plain data with None for what is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_order(inputs: Inputs, records: Iterable[Record]) -> Iterator[Record]:
    """Records of all inputs, from those of the readable ones and the errors of the others."""
    each = iter(records)
    for source, error in inputs.items():
        yield next(each) if error is None else Record(source, None, [], (error.kind, str(error)))


def _to_terminal(job: _Job, inputs: Inputs) -> Counter[str]:
    """Print a table, also of what was done before an interruption."""
    report, count, rows = Report(), Counter[str](), list[dict[str, Any]]()
    try:
        for record in _in_order(inputs, job.run(_readable(inputs))):
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
    report = Report()
    if out.exists() and not overwrite and not len(journal):
        raise FerkitError(f"{out} exists: add --overwrite to replace it, or choose another name")
    try:
        journal.begin({key: origin[key] for key in ("recipe_digest", "distributions", "weights")}, overwrite=overwrite)
        _append(job, inputs, journal, report, overwrite)
        count = _finish(out, inputs, journal, job.pipeline)
    except KeyboardInterrupt:
        if len(journal):
            say(f"interrupted: what is done is in {journal.path}; the same command goes on from there")
        raise
    except OSError as error:
        kept = f"; what is done is in {journal.path}: make room, and repeat the command" if len(journal) else ""
        say(f"error: can't write the results: {error}{kept}")
        raise typer.Exit(FAILED) from error
    report.summary(count, str(out))
    return count


def _append(job: _Job, inputs: Inputs, journal: Journal, report: Report, overwrite: bool) -> None:
    """Journal every input that is not done yet."""
    done = {
        source
        for source in _readable(inputs)
        if journal.done(source) and (job.copies is None or job.copies.exists(source))
    }
    if done:
        say(f"going on with {journal.path}: {len(done)} of {len(inputs)} inputs are done")
    if others := len(journal.sources - inputs.keys()):
        said = f"{journal.path} has {others} inputs that this command does not name"
        if not overwrite:
            raise FerkitError(f"{said}: repeat the command it was begun with, or add --overwrite to leave them out")
        say(f"{said}: they are left out")
    rest = {source: error for source, error in inputs.items() if source not in done}
    for index, record in enumerate(progress(_in_order(rest, job.run(_readable(rest))), len(rest)), 1):
        journal.append(record)
        report.add(record)
        if index % job.batch_size == 0:
            journal.sync()


def _finish(out: Path, inputs: Inputs, journal: Journal, pipeline: "Pipeline") -> Counter[str]:
    """Write errors, provenance and, last, OUT, so that where it is the others are; then drop the journal."""
    count = Counter[str]()

    def errors() -> Iterator[dict[str, str]]:
        for record in map(journal.record, inputs):
            tally(count, record)
            if record.error:
                kind, message = record.error
                yield {"source": record.source, "kind": kind, "message": message}

    with replacing(_beside(out, "errors.csv")) as path:
        write_csv(path, errors(), ("source", "kind", "message"))
    with replacing(_beside(out, "meta.json")) as path:
        meta = {"counts": count, "provenance": pipeline.provenance}
        path.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    rows = (row for source in inputs for row in journal.record(source).rows)
    write_table(out, rows, pipeline.recipe.labels)
    journal.finish()
    return count
