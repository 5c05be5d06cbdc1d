"""``ferkit normalize``: photos in, one view a face out, turned frontal where that is needed and accepted."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ferkit.cli.common import FAILED, Overrides, load, say
from ferkit.cli.copies import apart, distinct, plain_stem
from ferkit.cli.inputs import arguments, find
from ferkit.cli.longrun import LongRun, marked, named_folder, readable, terminated_as_interrupted
from ferkit.cli.report import tally
from ferkit.cli.sheet import Chosen, Sheet
from ferkit.decisions import FAILED as GAVE_NOTHING
from ferkit.decisions import NOT_TURNED, TURNED, told
from ferkit.errors import FerkitError
from ferkit.journal import NO_FACE, Journal, Mark, Record, plain
from ferkit.writers import make_folder, remove_empty, replacing

if TYPE_CHECKING:
    from torch import Tensor

    from ferkit.normalizing import Normalized, NormalizedFace
    from ferkit.preparation import Preparation
    from ferkit.recipe import Recipe

TABLE, META, SHEET, VIEWS, PAIRS = (
    "normalize.jsonl",
    "normalize.meta.json",
    "sheet.jpg",
    "views",
    "normalize.partial.sheet",
)
COLUMNS = (
    "source",
    "face",
    "x0",
    "y0",
    "x1",
    "y1",
    "detection_score",
    "yaw",
    "pitch",
    "roll",
    "pose_score",
    "decision",
    "yaw_after",
    "pitch_after",
    "roll_after",
    "identity",
    "expression",
    "sample",
    "cached",
    "seconds",
    "flags",
    "view",
    "error",
)
"""Keys of every line of :data:`TABLE`."""


def normalize(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATHS", help="Pictures, folders, patterns; - reads paths from standard input."),
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for views/, normalize.jsonl and the rest.")],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", metavar="RECIPE", help="A recipe's name, file, or a run's folder.")
    ] = "default",
    overrides: Overrides = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="Draw sheet.jpg: faces before and after.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures held in memory at once.")] = 16,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in DIR, or a journal begun with another recipe.")
    ] = False,
) -> None:
    """Find faces and turn them frontal with the recipe's normalizer; encoders and head are not built.

    DIR/views holds one picture a face: frontal if it was turned and accepted, else aligned. DIR/normalize.jsonl has a
    line a face, and one for each picture without a face or that could not be read. DIR/normalize.meta.json counts, and
    says where the results come from.

    A run that was stopped goes on with the same command: DIR/normalize.partial.jsonl holds what is done until all is.
    """
    from ferkit.normalizing import require_normalizer

    loaded = load(recipe, overrides)
    require_normalizer(loaded)
    given = list(arguments(paths))
    inputs = find(given)
    folder = named_folder(out, "--out")
    apart(folder, "--out", given, readable(inputs))
    made, decisions = make_folder(folder / VIEWS, "--out"), Counter[str]()
    try:
        job = _Job.build(loaded, device, folder, readable(inputs), batch_size, sheet)
        with terminated_as_interrupted(), Journal(folder / "normalize.partial.jsonl") as journal:
            earlier = set(_earlier(folder, journal)) if overwrite else set()
            run = LongRun(
                out=folder / TABLE,
                inputs=inputs,
                journal=journal,
                header={"recipe_digest": job.digest, "normalizer_version": job.preparation.normalizer_version},
                work=job.run,
                complete=lambda source: all(map(job.has, journal.record(source).rows)),
                finish=lambda: _finish(run, job, earlier, decisions),
                batch_size=batch_size,
                overwrite=overwrite,
                details=str(folder / TABLE),
            )
            count = run()
            Sheet(folder / PAIRS).clear()
    finally:
        remove_empty(made)
    _tell(decisions, loaded)
    if count["failed"]:
        raise typer.Exit(FAILED)


def _tell(decisions: Counter[str], recipe: "Recipe") -> None:
    """Say what became of the faces, and of what a person did not want."""
    if not decisions:
        return
    say(told(decisions))
    if failed := decisions[GAVE_NOTHING]:
        say(
            f"warning: the normalizer gave nothing for {failed} of {decisions.total()} faces, and their aligned views stand in; "
            "--overwrite asks again for those that failed for now"
        )
    if decisions[NOT_TURNED] == decisions.total():
        gates = recipe.normalization
        also = "" if gates.above_pitch is None else f", normalizer.above_pitch is {gates.above_pitch:g}"
        say(
            f"warning: no face was turned: none is beyond the gate; normalizer.above_yaw is {gates.above_yaw:g} degrees{also} "
            "(--set normalizer.above_yaw=0 turns every face whose pose is known)"
        )
    elif not decisions[TURNED] and not failed:
        say(
            "warning: no face was turned: all that were tried were rejected; --sheet shows what the normalizer returned"
        )


@dataclass(frozen=True)
class _Job:
    """A recipe's way to views at work on files."""

    recipe: "Recipe"
    preparation: "Preparation"
    provenance: dict[str, Any]
    digest: str
    folder: Path
    stems: dict[str, str]
    batch_size: int
    sheet: Sheet | None

    @classmethod
    def build(
        cls, recipe: "Recipe", device: str, folder: Path, sources: list[str], batch_size: int, with_sheet: bool
    ) -> "_Job":
        """Build detector, pose estimator, normalizer and what judges it."""
        import torch

        from ferkit.cache import Cache
        from ferkit.interfaces import Context
        from ferkit.missing_weights import require_weights
        from ferkit.pipelines import find_device
        from ferkit.preparation import Preparation, prepared_parts, view_digest
        from ferkit.provenance import provenance
        from ferkit.weights import WeightsStore

        weights = WeightsStore()
        require_weights(recipe, weights, prepared_parts(recipe))
        context = Context(find_device(device), torch.float32, recipe.framework.seed, recipe.labels, weights)
        preparation = Preparation(recipe, context, Cache())
        digest = view_digest(recipe, context)
        origin = provenance(recipe, weights, context.device, prepared_parts(recipe))
        stems = distinct({source: plain_stem(source) for source in sources})
        sheet = Sheet(folder / PAIRS) if with_sheet else None
        return cls(recipe, preparation, origin, digest, folder, stems, batch_size, sheet)

    def run(self, sources: Iterable[str]) -> Iterator[Record]:
        """One record a source, in order, lazily. Its views, and pairs for the sheet, are there before the record is."""
        from ferkit.normalizing import normalize

        stream = partial(normalize, self.recipe, self.preparation, batch_size=self.batch_size)
        for source, seen, result in marked(sources, stream):
            yield self._record(source, seen, result)

    def _record(self, source: str, seen: Mark | None, result: "Normalized") -> Record:
        info = result.info
        if info.error:
            return Record(source, seen, [], (info.error_kind or "unreadable", info.error))
        rows = []
        for face in result.faces:
            name = f"{VIEWS}/{self.stems[source]}-{face.face}.png"
            _write_view(self.folder / name, face.view)
            row = plain(_row(source, face, name))
            if self.sheet:
                self.sheet.keep(row, face)
            rows.append(row)
        return Record(source, seen, rows, None if rows else (NO_FACE, "no face was found"))

    def has(self, row: dict[str, Any]) -> bool:
        """Whether what stands beside a row of the journal is there."""
        return (self.folder / row["view"]).is_file() and (self.sheet is None or self.sheet.has(row))


def _write_view(path: Path, view: "Tensor") -> None:
    """Write a view, float ``[3, S, S]``, 0..1, without further loss."""
    from PIL import Image

    pixels = view.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def _row(source: str, face: "NormalizedFace", view: str) -> dict[str, Any]:
    """A face as a line of the table."""
    outcome = face.outcome
    known = {
        "source": source,
        "face": face.face,
        **dict(zip(("x0", "y0", "x1", "y1"), face.box, strict=True)),
        "detection_score": face.detection_score,
        **face.pose._asdict(),
        "pose_score": face.pose_score,
        "decision": face.decision,
        **{f"{name}_after": value for name, value in outcome.pose._asdict().items()},
        **outcome.cosines,
        "sample": outcome.sample,
        "cached": None if outcome.seconds is None else outcome.cached,
        "seconds": outcome.seconds,
        "flags": ";".join(face.flags),
        "view": view,
    }
    return {name: known.get(name) for name in COLUMNS}


def _finish(run: LongRun, job: _Job, earlier: set[str], decisions: Counter[str]) -> Counter[str]:
    """Write sheet, counts and provenance and, last, the table; remove the views of a result that this one replaces.

    ``decisions`` are counted, too.
    """
    from ferkit.preparation import PREPARED

    count, chosen = Counter[str](), Chosen()
    for record in run.records():
        tally(count, record)
        decisions.update(row["decision"] for row in record.rows)
        for row in record.rows:
            chosen.add(row)
            earlier.discard(row["view"])
    if job.sheet:
        job.sheet.save(job.folder / SHEET, chosen.rows)
    else:
        (job.folder / SHEET).unlink(missing_ok=True)  # it would show another result
    resolved = {key: value for key, value in job.recipe.resolved().items() if key in (*PREPARED, "align", "seed")}
    origin = {**job.provenance, "normalizer_version": job.preparation.normalizer_version}
    meta = {"counts": count, "decisions": decisions, "recipe": resolved, "provenance": origin}
    with replacing(job.folder / META) as path:
        path.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    with replacing(run.out) as path, path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for record in run.records():
            for row in record.rows or [_without_face(record)]:
                line = {name: row.get(name) for name in COLUMNS}  # a journal of before may lack a key
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    killed = (job.folder / VIEWS).glob(".*.????????.tmp")  # the journal is locked: nobody else writes there
    for path in (*(job.folder / name for name in earlier), *killed):
        path.unlink(missing_ok=True)
    return count


def _without_face(record: Record) -> dict[str, Any]:
    """The line of a picture without a face, or of an input that could not be read."""
    known = {"source": record.source, "flags": ""}
    if record.error and record.failed:
        known["error"] = ": ".join(record.error)
    else:
        known["decision"] = NO_FACE
    return known


def _earlier(folder: Path, journal: Journal) -> Iterator[str]:
    """The views that what is about to be replaced names."""
    for source in journal.sources:
        yield from (row["view"] for row in journal.record(source).rows)
    table = folder / TABLE
    if table.exists():
        with table.open(encoding="utf-8") as file:
            try:
                yield from (row["view"] for row in map(json.loads, file) if row["view"])
            except (ValueError, LookupError, TypeError) as error:
                raise FerkitError(f"{table} is no table of ferkit normalize: move it away") from error
