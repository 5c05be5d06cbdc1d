"""Data set ``affectnet``: AffectNet (Mollahosseini et al., IEEE TAFFC 2017), the classic release and that of March 2021."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferkit.datasets import AffectNetConfig
from ferkit.datasets.layouts import require
from ferkit.datasets.listed import Counts, Listed, class_counts
from ferkit.datasets.subsets import Subset, pose_lists
from ferkit.datasets.tables import explained
from ferkit.errors import FerkitError
from ferkit.images import shown
from ferkit.interfaces import Context, Sample
from ferkit.labels import AFFECTNET as CLASSES

TABLES = {"train": "training.csv", "validation": "validation.csv"}
FOLDERS = {"train": "train_set", "validation": "val_set"}
IMAGES = "Manually_Annotated_Images"
_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression")
_OTHERS = {8: "None", 9: "Uncertain", 10: "No-Face"}
_TRAIN = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
_STEM = "[0-9a-f]{56}"
_FILES = ("pose_30_affectnet_list.txt", "pose_45_affectnet_list.txt", "occlusion_affectnet_list.txt")
SUBSETS = pose_lists(
    [f"AffectNet_dir/{file}" for file in _FILES],
    [
        rf"(?P<label>\d)/(?P<key>{_STEM})\.\w+",
        rf"(?P<label>\d)/(?P<key>{_STEM})/\d+\.\w+",
        rf"val/(?P<label>\d)/(?P<key>{_STEM})/?",
    ],
    [1944, 983, 683],
)


class AffectNet(Listed):
    """AffectNet with the splits ``train`` and ``validation``; asked for ``test``, it gives ``validation``.

    No test labels are public, and papers report the validation split. The release is told by its files: in the classic
    one (``training.csv``) pictures are scenes with a box, in that of 2021 (``train_set``) they are crops. What is labelled
    None, Uncertain or No-Face, and rows that can't be read, are left out and told in ``remarks``.

    Raises:
        FerkitError: If the folder holds neither release; when it is read, if a file is none of AffectNet's.
    """

    terms = "Research and education only, not commercial; it may not be passed on: ask the authors."

    def __init__(self, config: AffectNetConfig, context: Context) -> None:
        del context
        self._path = Path(config.path)
        self._classes = CLASSES[: config.classes]
        self.is_crop = not any((self._path / name).is_file() for name in TABLES.values())
        if self.is_crop:
            require(self._path, "affectnet", (*TABLES.values(), *FOLDERS.values()))
            self.folders = tuple(
                images for name in FOLDERS.values() if (images := self._path / name / "images").is_dir()
            )
        else:
            self.folders = tuple(require(self._path, "affectnet", (IMAGES, f"Manually_Annotated/{IMAGES}")))
        self._subset = Subset.open(config.subset, config.lists, SUBSETS, CLASSES)
        if self._subset and self.is_crop:
            raise FerkitError(
                "the published lists name the pictures of AffectNet's classic release, and those of the release of 2021 are "
                "numbered: use the classic release (training.csv, validation.csv), or leave out the option subset"
            )

    def samples(self, split: str) -> Iterator[Sample]:
        """The samples of ``split``, sorted by number or in the order of their rows.

        Raises:
            FerkitError: If there is no such split, or a file can't be read.
        """
        return super().samples("validation" if split == "test" else split)

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        rows: dict[str, int] = {}
        for split, table in TABLES.items():
            if not self.is_crop and (self._path / table).is_file():
                found = self._labelled(_table(self._path / table, self.folders[0]))
            elif self.is_crop and (self._path / FOLDERS[split]).is_dir():
                found = self._labelled(_arrays(self._path / FOLDERS[split]))
            else:
                continue
            for where, sample in found:
                rows[split] = rows.get(split, 0) + 1
                yield where, split, sample
        if 0 < rows.get("train", 0) < rows.get("validation", 0):
            raise FerkitError(
                f"{shown(self._path)}: {rows['validation']} faces to validate on and {rows['train']} to train on: are "
                "training and validation swapped?"
            )

    def _labelled(self, rows: Iterator["_Row"]) -> Iterator[tuple[str, Sample]]:
        """The rows with an expression; the rest is told."""
        sound, broken = 0, ""
        for where, sample, expression in rows:
            self._named.update([sample.source] if sample else [])
            if expression is None or sample is None or not 0 <= expression < len(CLASSES) + len(_OTHERS):
                self._remark("rows that can't be read, left out", where)
                broken = broken or where
                continue
            sound += 1
            if expression in _OTHERS:
                self._remark(f"labelled {_OTHERS[expression]}, left out", sample.id)
            elif CLASSES[expression] not in self._classes:
                self._remark(f"labelled {CLASSES[expression]}, left out by the option classes", sample.id)
            elif sample.box and not (sample.box[0] < sample.box[2] and sample.box[1] < sample.box[3]):
                self._remark("without a box, left out", where)
            else:
                yield where, Sample(sample.id, sample.source, CLASSES[expression], box=sample.box)
        if broken and not sound:
            raise FerkitError(f"{broken}: nothing here can be read as AffectNet's annotations: is it another file?")

    def _key(self, sample: Sample) -> str:
        return Path(sample.id).stem

    @property
    def _counts(self) -> Counts:
        """Of the classic release: of the other one nothing sure is known."""
        if self.is_crop:
            return {}
        n = len(self._classes)
        return class_counts(self._classes, {"train": _TRAIN[:n], "validation": (500,) * n})


class _Row(NamedTuple):
    """Where it is, the sample without its label, and the index of its expression; None where that can't be read."""

    where: str
    sample: Sample | None
    expression: int | None


def _table(path: Path, images: Path) -> Iterator[_Row]:
    """The rows of a table. The official one has one that is broken, so each is read for itself."""
    with explained(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in _COLUMNS if name not in header]:
            raise FerkitError(
                f"{shown(path)} has no column {missing[0]}; it has {shown(', '.join(header)[:200])}: is it AffectNet's table?"
            )
        places = [header.index(name) for name in _COLUMNS]
        for fields in reader:
            if fields:
                yield _row(f"{shown(path)}, line {reader.line_num}", fields, len(header), places, images)


def _row(where: str, fields: list[str], width: int, places: list[int], images: Path) -> _Row:
    try:
        name, *numbers = (fields[place].strip() for place in places)
        x, y, w, h, expression = map(int, numbers)
    except (IndexError, ValueError):
        return _Row(where, None, None)
    if len(fields) != width or not name:
        return _Row(where, None, None)
    name = name.replace("\\", "/")
    return _Row(where, Sample(name, f"{images}/{name}", None, box=(x, y, x + w, y + h)), expression)


def _arrays(folder: Path) -> Iterator[_Row]:
    """The annotations of a split of the release of 2021, which holds a string in each array."""
    annotations = folder / "annotations"
    if not annotations.is_dir():
        raise FerkitError(f"{shown(folder)} has no folder annotations: unpack that part of the release, too")
    names = (match[1] for item in annotations.iterdir() if (match := re.fullmatch(r"(\d+)_exp\.npy", item.name)))
    for name in sorted(names, key=int):
        path = annotations / f"{name}_exp.npy"
        try:
            expression = int(np.load(path, allow_pickle=False).item())
        except (OSError, ValueError, EOFError):
            expression = None
        yield _Row(
            shown(path), Sample(f"{folder.name}/{name}", str(folder / "images" / f"{name}.jpg"), None), expression
        )
