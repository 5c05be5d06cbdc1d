"""Data set ``manifest``: a table that names pictures and what is known of them."""

import difflib
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ferkit.datasets import ManifestConfig
from ferkit.datasets.folder import check_folder
from ferkit.datasets.names import ALL, check_split, class_name, in_order, sample_id, split_name
from ferkit.datasets.tables import read_table
from ferkit.errors import FerkitError
from ferkit.images import MAX_PIXELS, shown
from ferkit.interfaces import Context, Sample

BOX = ("x0", "y0", "x1", "y1")
POSE = ("yaw", "pitch", "roll")
COLUMNS = ("image", "label", *BOX, *POSE, "subject", "group", "split", "caption", "id")
VOTES = "votes:"
NAN = ("nan", "NaN")  # what pandas and JSON have for a missing value; Nan is a name
Box = tuple[float, float, float, float]


class Manifest:
    """Samples by the rows of a table with :data:`COLUMNS`, of which only ``image`` must be there, and columns of votes.

    An id is the picture's path as the table has it, with the box where there is one; the column ``id`` overrides it.
    The faces of a scene are one group unless a column ``group`` says otherwise. Without a column ``split`` all samples
    are in the split ``all``. NaN, as pandas writes it, counts as missing. The whole table is read and checked when it is
    first needed; pictures are not looked for.

    Raises:
        FerkitError: If the table or ``root`` is not there; when it is read, if a row is wrong, with its line.
    """

    def __init__(self, config: ManifestConfig, context: Context) -> None:
        del context
        self._path, self._config = Path(config.path), config
        self._root = Path(config.root) if config.root else self._path.parent
        self.is_crop = config.crops
        if self._path.is_dir():
            inner = shown(self._path / "manifest.csv")
            raise FerkitError(f"{shown(self._path)} is a folder: name the table in it, such as {inner}")
        if not self._path.is_file():
            raise FerkitError(f"there is no table {shown(self._path)}: check the option path")
        check_folder(self._root)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: train, validation and test first."""
        return in_order(self._samples)

    def samples(self, split: str) -> Iterator[Sample]:
        """The samples of ``split`` in the order of their rows.

        Raises:
            FerkitError: If there is no such split.
        """
        check_split(split, self.splits, shown(self._path))
        yield from self._samples[split]

    @cached_property
    def _samples(self) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        places: dict[str, str] = {}
        for where, row in read_table(self._path, self._config.ignore):
            self._check_columns(row)
            sample = self._sample(row, where)
            if sample.id in places:
                hint = "" if row.get("id") else ", or add a column id"
                raise FerkitError(
                    f"{where} has the id {sample.id!r} of {places[sample.id]}: remove one of the two{hint}"
                )
            places[sample.id] = where
            found.setdefault(self._split(row, where), []).append(sample)
        if not found:
            raise FerkitError(f"{shown(self._path)} has a header, but no rows: write it again")
        return found

    def _check_columns(self, row: dict[str, str]) -> None:
        known = {*COLUMNS, *self._config.votes}
        unknown = [name for name in row if name not in known and not name.startswith(VOTES)]
        if unknown:
            close = difflib.get_close_matches(unknown[0].lower(), known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise FerkitError(
                f"{shown(self._path)} has an unknown column {unknown[0]!r}{hint}: columns, separated by commas, are "
                f"{', '.join(COLUMNS)} and {VOTES}…; rename it, or name it in the option ignore"
            )
        if missing := [name for name in ("image", *self._config.votes) if name not in row]:
            raise FerkitError(f"{shown(self._path)} has no column {missing[0]!r}; it has {', '.join(row)}: add it")
        if self._config.crops and set(BOX) & set(row):
            raise FerkitError(
                f"{shown(self._path)} has boxes, but crops says that its pictures are cut to the face: set crops to "
                f"false, or ignore to [{', '.join(BOX)}]"
            )

    def _sample(self, row: dict[str, str], where: str) -> Sample:
        box = _box(row, where)
        votes = self._votes(row, where)
        if row.get("label", "").strip() in NAN:
            raise FerkitError(f"{where}: the label is NaN, a missing value: fill it in, or remove the row")
        label = class_name(row["label"], self._config.labels, where) if row.get("label", "").strip() else None
        if label is None and votes is None:
            raise FerkitError(f"{where} has neither label nor votes: fill one in, or remove the row")
        name, source = self._picture(row, where)
        corners = f"#{','.join(f'{corner:g}' for corner in box)}" if box else ""
        return Sample(
            id=_known(row, "id") or sample_id(f"{name}{corners}"),
            source=str(source),
            label=label,
            votes=votes,
            box=box,
            pose=_pose(row, where),
            caption=_known(row, "caption") or None,
            subject=_known(row, "subject") or None,
            group=_known(row, "group") or (sample_id(name) if box else None),
        )

    def _picture(self, row: dict[str, str], where: str) -> tuple[str, Path]:
        """What to call the picture on every machine, and where it is on this one."""
        if not _known(row, "image"):
            raise FerkitError(f"{where} names no image: fill it in, or remove the row")
        path = Path(row["image"])
        if not path.is_absolute():
            return path.as_posix(), self._root / path
        if path.is_relative_to(self._root.absolute()):
            return path.relative_to(self._root.absolute()).as_posix(), path
        if _known(row, "id"):
            return path.name, path
        raise FerkitError(
            f"{where}: {shown(path)} does not lie below {shown(self._root)}, and another machine would call it otherwise: "
            "set root to a folder above all pictures, or add a column id"
        )

    def _votes(self, row: dict[str, str], where: str) -> dict[str, float] | None:
        columns = [name for name in row if name in self._config.votes or name.startswith(VOTES)]
        votes: dict[str, float] = {}
        for column in columns:
            count = _number(row[column] or "0", f"{where}: {column}")
            if count < 0:
                raise FerkitError(f"{where}: {column} is {count:g}: votes are counts or shares, never negative")
            label = class_name(column.removeprefix(VOTES), self._config.labels, where)
            votes[label] = votes.get(label, 0.0) + count
        return votes if any(votes.values()) else None

    def _split(self, row: dict[str, str], where: str) -> str:
        if "split" not in row:
            return ALL
        if not _known(row, "split"):
            raise FerkitError(f"{where} has an empty split: fill it in, or leave the column out everywhere")
        return split_name(row["split"])


def _known(row: dict[str, str], name: str) -> str:
    """The value of a column; ``""`` where it is missing."""
    value = row.get(name, "")
    return "" if value.strip() in ("", *NAN) else value


def _box(row: dict[str, str], where: str) -> Box | None:
    corners = [row.get(name, "").strip() for name in BOX]
    if not any(corners):
        return None
    if missing := [name for name, corner in zip(BOX, corners, strict=True) if not corner]:
        raise FerkitError(f"{where} has a box without {', '.join(missing)}: give all of {', '.join(BOX)}, or none")
    x0, y0, x1, y1 = (_number(corner, f"{where}: {name}") for name, corner in zip(BOX, corners, strict=True))
    if max(map(abs, (x0, y0, x1, y1))) > MAX_PIXELS:
        raise FerkitError(
            f"{where} has the box {x0:g} {y0:g} {x1:g} {y1:g}, larger than any picture: write corners in pixels"
        )
    if not (x0 < x1 and y0 < y1):
        raise FerkitError(
            f"{where} has the box {x0:g} {y0:g} {x1:g} {y1:g}: x1 must be greater than x0, and y1 than y0; are they "
            "width and height?"
        )
    return x0, y0, x1, y1


def _pose(row: dict[str, str], where: str) -> tuple[float, float, float] | None:
    yaw, pitch, roll = (_number(_known(row, name) or "0", f"{where}: {name}") for name in POSE)
    known = [bool(_known(row, name)) for name in POSE]
    if not any(known):
        return None
    if max(map(abs, (yaw, pitch, roll))) > 180:
        raise FerkitError(f"{where} has the pose {yaw:g} {pitch:g} {roll:g}, beyond 180: write degrees")
    yaw, pitch, roll = (angle if there else math.nan for angle, there in zip((yaw, pitch, roll), known, strict=True))
    return yaw, pitch, roll


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FerkitError(f"{where} must be a finite number, not {text!r}")
    return value
