"""Data set ``fer2013``: 48 x 48 grey face crops (Goodfellow et al. 2013), with FERPlus labels (Barsoum et al. 2016).

Its pictures are not all different: ``group`` is a digest of their content, which keeps copies on one side of a split.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferkit.datasets import FER2013Config
from ferkit.datasets.folder import Picture, check_folder, class_pictures, id_below
from ferkit.datasets.names import ALL, check_split, in_order, split_name
from ferkit.datasets.tables import read_table
from ferkit.errors import FerkitError
from ferkit.images import shown, unreadable
from ferkit.interfaces import Context, Sample
from ferkit.labels import FER2013 as CLASSES
from ferkit.labels import FERPLUS, canonical

SIDE = 48
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

    def __init__(self, config: FER2013Config, context: Context) -> None:
        del context
        path = Path(config.path)
        table = next((file for file in (path, *(path / name for name in TABLES)) if file.is_file()), None)
        if table is None:
            check_folder(path)
        if config.votes and table is None:
            raise FerkitError(
                f"FERPlus names rows of fer2013.csv, and {shown(path)} has none: leave out the option votes"
            )
        self._data = _Table(table, Path(config.votes) if config.votes else None) if table else _Folders(path)

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
    is_crop = True

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


class _Face(NamedTuple):
    row_number: int
    where: str
    split: str
    row: dict[str, str]
    votes: dict[str, float] | None


class _Table:
    is_crop = True

    def __init__(self, path: Path, ferplus: Path | None) -> None:
        self._path, self._ferplus = path, ferplus

    @cached_property
    def splits(self) -> tuple[str, ...]:
        found = in_order({face.split for face in self._faces()})
        if not found:
            raise FerkitError(f"{shown(self._path)} has no faces: copy or download it again")
        return found

    def samples(self, split: str) -> Iterator[Sample]:
        check_split(split, self.splits, shown(self._path))
        for face in self._faces():
            if face.split == split:
                pixels = _pixels(face.row.get("pixels", ""), face.where)
                label = max(face.votes, key=face.votes.__getitem__) if face.votes else _emotion(face.row, face.where)
                yield Sample(
                    id=f"fer{face.row_number:07d}",
                    source=face.where,
                    label=label,
                    votes=face.votes,
                    group=_digest(pixels),
                    image=_HEADER + pixels,
                )

    def _faces(self) -> Iterator[_Face]:
        """The rows; with FERPlus, those that it calls faces with an expression."""
        ferplus = _ferplus_rows(self._ferplus) if self._ferplus else None
        for index, (item, labelled) in enumerate(zip_longest(_rows(self._path), ferplus or ())):
            if item is None or (ferplus is not None and labelled is None):
                raise FerkitError(
                    f"{shown(str(self._ferplus))} and {shown(self._path)} differ in the number of rows: FERPlus belongs to "
                    "the whole fer2013.csv, in its own order"
                )
            where, row = item
            if "pixels" not in row:
                raise FerkitError(f"{shown(self._path)} has no column pixels; it has {', '.join(row)}: is it FER2013?")
            split = _split_of_row(row, where)
            if labelled is None:
                yield _Face(index, where, split, row, None)
                continue
            place, usage, votes = labelled
            if usage != split:
                raise FerkitError(
                    f"{place} is in {usage}, but {where} in {split}: the rows of the two are not the same"
                )
            if votes:
                yield _Face(index, where, split, row, votes)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with column names in lower case: copies differ in case and have spaces before them."""
    for where, row in read_table(path):
        yield where, {name.lower(): value for name, value in row.items()}


def _split_of_row(row: dict[str, str], where: str) -> str:
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


def _ferplus_rows(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Place, split, and votes for expressions: none where most people saw none, or no face."""
    columns = [*FERPLUS, "unknown", "nf"]
    for where, row in _rows(path):
        try:
            votes = {name: float(int(row[name])) for name in columns}
        except (KeyError, ValueError) as error:
            raise FerkitError(f"{where}: no count of votes ({error}): is it fer2013new.csv of FERPlus?") from error
        most = max(votes, key=votes.__getitem__)  # of equals the first
        seen = most in FERPLUS and votes[most] > 0
        yield where, _split_of_row(row, where), {name: votes[name] for name in FERPLUS} if seen else {}
