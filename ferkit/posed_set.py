"""A folder of faces in known poses, with the manifest that names them."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ferkit.datasets.manifest import VOTES
from ferkit.errors import FerkitError
from ferkit.evaluation.data import samples_digest
from ferkit.evaluation.locating import Located, Pictures, Rows, locate, records
from ferkit.images import decode
from ferkit.interfaces import PosedFace, Poser, Sample
from ferkit.journal import NO_FACE, Journal, Record, plain
from ferkit.preparation import Preparation
from ferkit.progress import progress
from ferkit.recipe import Part
from ferkit.stages import stage
from ferkit.text import how_many
from ferkit.types import Pose
from ferkit.writers import make_folder, replacing, write_csv

MANIFEST, JOURNAL, PICTURES, LEFT_OUT = "manifest.csv", "pose-augment.partial.jsonl", "images", "left_out.csv"
COLUMNS = ("id", "image", "label", "x0", "y0", "x1", "y1", *Pose._fields, "subject", "group", "split", "caption")
BOX = COLUMNS[3:7]
SYNC = 256  # records after which the disk is told to write
BATCH, COPIES = 16, 64  # faces looked at at once, at most; pictures made of them, if that is not one face
NO_POSE, TURNED, IMPOSSIBLE, UNREADABLE = "no_pose", "turned", "not_posed", "unreadable"
WHY = {
    NO_POSE: "its pose is not known: no face in the box, or one that is cut, covered, upside down or too small",
    TURNED: "as far as its pose can be told it is turned already, further than --max-yaw, or cut",
    IMPOSSIBLE: "the poser could not show it in any of the poses",
}
_PICTURE = re.compile(r"\d{6,}(-\d+)?\.png")


@dataclass(frozen=True)
class PosedSet:
    """Samples on their way into a folder.

    Attributes:
        samples: To be shown in poses, by split.
        plain: To be named only, by split.
        is_crop: Whether all their pictures are cropped to the face.
        preparation: Finds faces, and tells their landmarks and pose.
        part: The poser in the recipe.
        poser: Itself.
        poses: The poses of a sample, by its id, each with a seed.
        vary: Whether the seeds count.
        size: Side of the pictures in pixels.
        max_yaw: Faces turned further than that are left out.
        originals: Whether the samples that are shown are named, too.
    """

    samples: Sequence[tuple[str, Sample]]
    plain: Sequence[tuple[str, Sample]]
    is_crop: bool
    preparation: Preparation
    part: Part
    poser: Poser
    poses: Callable[[str], list[tuple[Pose, int]]]
    vary: bool
    size: int
    max_yaw: float
    originals: bool

    def __call__(
        self, folder: Path, made_by: Mapping[str, Any], *, overwrite: bool, shows: bool | None
    ) -> Counter[str]:
        """Write ``folder``, or go on with it; count.

        Args:
            folder: Where; its manifest is written last, and removed first where it is replaced.
            made_by: What beside the samples decides the pictures.
            overwrite: Whether another set in ``folder`` is replaced.
            shows: Whether a bar is drawn on stderr; None: if that is a terminal.

        Raises:
            FerkitError: If an id would be there twice, no face could be posed, or ``folder`` holds something else.
        """
        self._require_unique()
        header = {**made_by, "data": samples_digest(sample for _, sample in self.samples)}
        make_folder(folder / PICTURES, "--out")
        with Journal(folder / JOURNAL) as journal:
            if (folder / MANIFEST).exists() and not overwrite and not len(journal):
                raise FerkitError(
                    f"{folder / MANIFEST} exists: add --overwrite to replace it, or choose another folder"
                )
            if not overwrite and not journal.begun:
                _require_empty(folder)
            journal.begin(plain(header), overwrite=overwrite)
            if not len(journal):
                _clear(folder)
            try:
                self._work(folder, journal, shows)
            finally:
                if not len(journal):  # which then is removed, and could not tell whose they are
                    _clear(folder)
            count = self._finish(folder, journal)
            journal.finish()
        return count

    def _work(self, folder: Path, journal: Journal, shows: bool | None) -> None:
        """Pose every sample that is not in the journal yet."""
        stems = {sample.id: f"{PICTURES}/{index:06d}" for index, (_, sample) in enumerate(self.samples)}
        rest = [sample for _, sample in self.samples if not _done(sample, folder, journal)]
        most = min(BATCH, max(1, COPIES // len(self.poses(rest[0].id)))) if rest else 1
        worked = records(iter(rest), most, lambda chunk, pictures: self._rows(chunk, pictures, folder, stems))
        for index, record in enumerate(progress(worked, len(rest), shows), 1):
            journal.append(record)
            if index % SYNC == 0:
                journal.sync()

    @torch.inference_mode()
    def _rows(self, samples: Sequence[Sample], pictures: Pictures, folder: Path, stems: Mapping[str, str]) -> Rows:
        """What was made of the samples whose face was found; the pictures are there before."""
        located = locate(samples, pictures, self.preparation, self.is_crop)
        rows: Rows = {}
        for index, (sample, (yaw, *_)) in enumerate(zip(located.samples, located.faces.pose.tolist(), strict=True)):
            reason, made = NO_POSE if not isfinite(yaw) else TURNED if abs(yaw) > self.max_yaw else "", []
            if not reason:
                poses = self.poses(sample.id)
                for number, ((pose, _), face) in enumerate(zip(poses, self._posed(located, index, poses), strict=True)):
                    if face is not None:
                        name = f"{stems[sample.id]}-{number}.png"
                        _write(folder / name, face.image)
                        box = dict(zip(BOX, face.box, strict=True))
                        made.append({"number": number, "image": name, **pose._asdict(), **box})
                reason = "" if made else IMPOSSIBLE
            rows[sample.id] = {"source": sample.id, "reason": reason, "made": made}
        return rows

    def _posed(self, located: Located, index: int, poses: Sequence[tuple[Pose, int]]) -> Sequence[PosedFace | None]:
        """One face in all of its poses."""
        faces = located.faces.select(torch.full((len(poses),), index))
        seeds = [seed for _, seed in poses] if self.vary else None
        with stage(self.part):
            return self.poser.posed(located.batch, faces, torch.tensor([pose for pose, _ in poses]), self.size, seeds)

    def _finish(self, folder: Path, journal: Journal) -> Counter[str]:
        """Write the manifest; count."""
        found = {sample.id: journal.record(sample.id) for _, sample in self.samples}
        reasons = Counter(filter(None, map(_reason, found.values())))
        made = [len(record.rows[0]["made"]) for record in found.values() if record.rows]
        copies, faces = sum(made), sum(map(bool, made))
        self._tell_left_out(folder, found)
        if not copies:
            why = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
            asked = how_many(len(self.samples), "face")
            raise FerkitError(
                f"none of {asked} could be posed: {why}{_first_error(found)}; {folder / LEFT_OUT} names them all"
            )
        rows = list(self._lines(folder, found))
        votes = sorted({name for row in rows for name in row if name.startswith(VOTES)})
        names = [name for name in COLUMNS if not (self.is_crop and name in BOX)]
        with replacing(folder / MANIFEST) as path:
            write_csv(path, rows, [*names, *votes])
        return Counter(samples=len(self.samples), faces=faces, copies=copies, **reasons)

    def _tell_left_out(self, folder: Path, found: Mapping[str, Record]) -> None:
        """Name what was not shown, and why."""
        left = [
            {
                "id": sample.id,
                "image": sample.source,
                "reason": reason,
                "message": (found[sample.id].error or ("", WHY.get(reason, "")))[1],
            }
            for _, sample in self.samples
            if (reason := _reason(found[sample.id]))
        ]
        with replacing(folder / LEFT_OUT) as path:
            write_csv(path, left, ("id", "image", "reason", "message"))

    def _lines(self, folder: Path, found: Mapping[str, Record]) -> Iterator[dict[str, Any]]:
        """The manifest's rows."""
        for index, (split, sample) in enumerate(self.samples):
            record, known = found[sample.id], _known(split, sample)
            if self.originals and not record.failed:
                yield known | _original(sample, folder, f"{PICTURES}/{index:06d}.png")
            for made in record.rows[0]["made"] if record.rows else ():
                yield {**known, **made, "id": _copy(sample.id, made["number"])}
        for index, (split, sample) in enumerate(self.plain, len(self.samples)):
            yield _known(split, sample) | _original(sample, folder, f"{PICTURES}/{index:06d}.png")

    def _require_unique(self) -> None:
        """Check that no two pictures would have one id."""
        names = [_copy(sample.id, n) for _, sample in self.samples for n in range(len(self.poses(sample.id)))]
        names += [sample.id for _, sample in (*(self.samples if self.originals else ()), *self.plain)]
        own = Counter([sample.id for _, sample in self.samples])
        if twice := [name for name, n in (*own.items(), *Counter(names).items()) if n > 1]:
            raise FerkitError(
                f"the id {twice[0]!r} would be there more than once: name one split, or give the data a column id without "
                "an @ and a number"
            )


def _done(sample: Sample, folder: Path, journal: Journal) -> bool:
    """Whether it was worked on, and every picture made of it is still there."""
    if not journal.done(sample.id, sample.source):
        return False
    rows = journal.record(sample.id).rows
    return all((folder / made["image"]).is_file() for row in rows for made in row["made"])


def _require_empty(folder: Path) -> None:
    """Check that no pictures lie there that a set would replace, for nothing tells whose they are."""
    if foreign := next(filter(lambda path: _PICTURE.fullmatch(path.name), (folder / PICTURES).iterdir()), None):
        raise FerkitError(
            f"{foreign} is there already, and belongs to no set that was begun in {folder}: choose another folder, or add "
            "--overwrite to replace what is there"
        )


def _clear(folder: Path) -> None:
    """Remove an earlier set, the manifest first: it must not name pictures of another pose."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / LEFT_OUT).unlink(missing_ok=True)
    for path in (folder / PICTURES).iterdir():
        if _PICTURE.fullmatch(path.name):
            path.unlink()


def _copy(name: str, number: int) -> str:
    """The id of a copy."""
    return f"{name}@{number}"


def _original(sample: Sample, folder: Path, name: str) -> dict[str, Any]:
    """What the manifest says of the sample itself; a picture that has no file gets one, called ``name``."""
    known: dict[str, Any] = {"id": sample.id, "image": str(Path(sample.source).absolute())}
    if sample.image is not None:
        known["image"] = name
        _write(folder / name, decode(sample.image))
    if sample.box:
        known |= dict(zip(BOX, sample.box, strict=True))
    if sample.pose:
        known |= {name: angle for name, angle in zip(Pose._fields, sample.pose, strict=True) if isfinite(angle)}
    return known


def _known(split: str, sample: Sample) -> dict[str, Any]:
    """What a sample and its copies share. All copies of a face are one group, so that intervals count faces."""
    votes = {f"{VOTES}{label}": share for label, share in (sample.votes or {}).items()}
    own = {"label": sample.label, "subject": sample.subject, "group": sample.group or sample.id, "split": split}
    return {**own, "caption": sample.caption, **votes}


def _reason(record: Record) -> str:
    """Why a sample was left out, empty where it was not."""
    if record.rows:
        return str(record.rows[0]["reason"])
    return NO_FACE if record.error and record.error[0] == NO_FACE else UNREADABLE


def _first_error(found: Mapping[str, Record]) -> str:
    """What the first picture that can't be read says, to be put behind a count; empty where all can be."""
    return next((f", first: {record.error[1]}" for record in found.values() if record.failed and record.error), "")


def _write(path: Path, image: Tensor) -> None:
    """Write a picture without loss, grey if it is."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    grey = bool((pixels == pixels[..., :1]).all())
    with replacing(path) as temporary:
        Image.fromarray(pixels[..., 0] if grey else pixels).save(temporary, "PNG")
