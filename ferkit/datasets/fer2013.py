"""Data set ``fer2013``: 48 x 48 grey face crops (Goodfellow et al. 2013).

Its pictures are not all different: ``group`` is a digest of their content, which keeps copies on one side of a split.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferkit.datasets import FER2013Config
from ferkit.datasets.folder import Picture, check_folder, class_pictures, id_below
from ferkit.datasets.names import ALL, check_split, in_order, split_name
from ferkit.datasets.tables import read_table
from ferkit.errors import FerkitError
from ferkit.images import shown, unreadable
from ferkit.interfaces import Context, Remark, Sample
from ferkit.labels import FER2013 as CLASSES
from ferkit.labels import canonical

SIDE = 48
COUNTS = {("train", None): 28709, ("validation", None): 3589, ("test", None): 3589, (None, None): 35887}
TERMS = (
    "The pictures come under the rules of a Kaggle competition: take them for research only, and do not pass them on."
)
TABLES = ("fer2013.csv", "icml_face_data.csv")
_USAGES = {"training": "train", "publictest": "validation", "privatetest": "test"}
_HEADER = f"P5 {SIDE} {SIDE} 255\n".encode()


class FER2013:
    """FER2013 as a folder of class folders or as CSV; ``validation`` is PublicTest, ``test`` PrivateTest.

    In folders, the start of a picture's name (``PublicTest_…``) decides its split before its folder does: a copy in
    circulation has both tests in one folder. In the CSV, ids are those of FERPlus: ``fer`` and the row, counted from 0.

    Raises:
        FerkitError: If there is neither; when it is read, if it is not laid out so, or a row is wrong, with its line.
    """

    is_crop = True

    terms = TERMS

    def __init__(self, config: FER2013Config, context: Context) -> None:
        del context
        path = Path(config.path)
        table = table_at(path)
        if table is None:
            check_folder(path)
        self._data = _Samples(Table(table)) if table else _Folders(path)
        self.published = COUNTS
        self.remarks: tuple[Remark, ...] = ()
        self.unannotated: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of ``train``, ``validation`` and ``test`` that are there; ``all`` where nothing tells."""
        return tuple(self._data.splits)

    def samples(self, split: str) -> Iterator[Sample]:
        """The faces of ``split``, sorted by path or in the order of their rows.

        Raises:
            FerkitError: If there is no such split.
        """
        yield from self._data.samples(split)


class _Folders:
    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _pictures(self) -> list[tuple[str, str, Path]]:
        """Split, label and path."""
        return [(_split_of(item), self._label(item), item.path) for item in class_pictures(self._root)]

    @property
    def splits(self) -> tuple[str, ...]:
        return in_order(split for split, _, _ in self._pictures)

    def samples(self, split: str) -> Iterator[Sample]:
        check_split(split, self.splits, shown(self._root))
        for found, label, path in self._pictures:
            if found == split:
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise unreadable(path, error) from error
                yield Sample(id_below(path, self._root), str(path), label, group=_digest(content))

    def _label(self, item: Picture) -> str:
        label = canonical(item.class_folder)
        if label not in CLASSES:
            raise FerkitError(
                f"{shown(item.path.parent)}: the folder {shown(item.class_folder)!r} is none of {', '.join(CLASSES)}: point "
                "path to the folder that holds them or their splits, or use the data set folder, whose option labels "
                "names any class"
            )
        return label


def _split_of(item: Picture) -> str:
    usage = _usage(item.path.name.partition("_")[0])
    if usage or item.split_folder is None:
        return usage or ALL
    return _usage(item.split_folder) or split_name(item.split_folder)


def _usage(name: str) -> str | None:
    return _USAGES.get(name.strip().lower().replace("_", "").replace("-", ""))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class Face(NamedTuple):
    """A row of the table: its number from 0, where it stands, its split, and its values."""

    number: int
    where: str
    split: str
    row: dict[str, str]

    @property
    def id(self) -> str:
        """What FER+ calls it."""
        return f"fer{self.number:07d}"

    def sample(self, label: str | None, votes: dict[str, float] | None = None) -> Sample:
        """The face with its pixels.

        Raises:
            FerkitError: If these are not 48 x 48.
        """
        pixels = _pixels(self.row.get("pixels", ""), self.where)
        return Sample(self.id, self.where, label, votes, group=_digest(pixels), image=_HEADER + pixels)


class Table:
    """``fer2013.csv``, row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Face]:
        for number, (where, row) in enumerate(rows(self.path)):
            if "pixels" not in row:
                raise FerkitError(f"{shown(self.path)} has no column pixels; it has {', '.join(row)}: is it FER2013?")
            yield Face(number, where, split_of(row, where), row)


class _Samples:
    def __init__(self, table: Table) -> None:
        self._table = table

    @cached_property
    def splits(self) -> tuple[str, ...]:
        found = in_order({face.split for face in self._table})
        if not found:
            raise FerkitError(f"{shown(self._table.path)} has no faces: copy or download it again")
        return found

    def samples(self, split: str) -> Iterator[Sample]:
        check_split(split, self.splits, shown(self._table.path))
        for face in self._table:
            if face.split == split:
                yield face.sample(_emotion(face.row, face.where))


def table_at(path: Path) -> Path | None:
    """The table that ``path`` is, or that lies in it."""
    return next((file for file in (path, *(path / name for name in TABLES)) if file.is_file()), None)


def rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with column names in lower case: copies differ in case and have spaces before them."""
    for where, row in read_table(path):
        yield where, {name.lower(): value for name, value in row.items()}


def split_of(row: dict[str, str], where: str) -> str:
    """The split of a row."""
    if "usage" not in row:
        return ALL
    split = _usage(row["usage"])
    if split is None:
        raise FerkitError(f"{where}: Usage must be Training, PublicTest or PrivateTest, not {row['usage']!r}")
    return split


def _emotion(row: dict[str, str], where: str) -> str:
    text = row.get("emotion", "").strip()
    if text not in map(str, range(len(CLASSES))):
        raise FerkitError(f"{where}: emotion must be an integer from 0 to {len(CLASSES) - 1}, not {text!r}")
    return CLASSES[int(text)]


def _pixels(text: str, where: str) -> bytes:
    try:
        pixels = np.loadtxt(
            [text.strip() or "none"], dtype=np.uint8, comments=None
        ).tobytes()  # the fastest that checks
    except ValueError:
        raise FerkitError(f"{where}: pixels must be integers from 0 to 255, separated by spaces") from None
    if len(pixels) != SIDE * SIDE:
        raise FerkitError(
            f"{where} has {len(pixels)} pixels, not {SIDE} x {SIDE} = {SIDE * SIDE}: is the file cut short?"
        )
    return pixels
