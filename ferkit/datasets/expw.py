"""Data set ``expw``: Expression in-the-Wild (Zhang et al., ICCV 2015 and IJCV 2018)."""

import hashlib
import math
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from ferkit.datasets import ExpWConfig
from ferkit.datasets.layouts import require
from ferkit.datasets.listed import Counts, Listed
from ferkit.datasets.tables import read_lines
from ferkit.errors import FerkitError
from ferkit.images import shown
from ferkit.interfaces import Context, Sample
from ferkit.labels import EXPW as CLASSES

LISTS = ("data/label/label.lst", "label/label.lst", "label.lst")
FOLDERS = ("data/image/origin", "image/origin", "origin")
_COLUMNS = (
    "image_name",
    "face_id_in_image",
    "face_box_top",
    "face_box_left",
    "face_box_right",
    "face_box_bottom",
    "face_box_cofidence",  # the provider's spelling
    "expression_label",
)
_BOX = ("face_box_left", "face_box_top", "face_box_right", "face_box_bottom")


class ExpW(Listed):
    """ExpW: several faces a picture, each with its box; ids are the picture's name and the face's number in it.

    There are no official splits. Ours are drawn by picture: a digest of its name and ``split_seed`` decides, so that a
    picture's split depends on no other picture, and shares are met up to chance. ``group`` is the picture.

    ``label.lst`` has the provider's columns, or a header that names them in another order; commas may separate them.

    Raises:
        FerkitError: If the folder is not laid out so; when its list is read, if a line is wrong.
    """

    terms = "No licence is stated: take it for research only, and do not pass it on."

    def __init__(self, config: ExpWConfig, context: Context) -> None:
        del context
        self._path, self._seed = Path(config.path), config.split_seed
        self._bounds = dict(zip(config.fractions, accumulate(config.fractions.values()), strict=True))
        self._list, folder = require(self._path, "expw", LISTS, FOLDERS)
        self.folders = (folder,)

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        columns: tuple[str, ...] = _COLUMNS
        for number, (where, text) in enumerate(read_lines(self._list)):
            fields = text.split(",") if "," in text else text.rsplit(None, len(_COLUMNS) - 1)
            fields = [field.strip() for field in fields]
            if number == 0 and "expression_label" in fields:
                columns = _named(fields, where)
                continue
            if len(fields) != len(columns):
                raise FerkitError(
                    f"{where} has {len(fields)} values, not the {len(columns)} of ExpW's list ({', '.join(columns)}): is it "
                    "another file?"
                )
            row = dict(zip(columns, fields, strict=True))
            yield where, self._split(row["image_name"]), self._sample(row, where)

    def _sample(self, row: dict[str, str], where: str) -> Sample:
        label = row["expression_label"]
        if label not in map(str, range(len(CLASSES))):
            raise FerkitError(
                f"{where}: expression_label must be an integer from 0 to {len(CLASSES) - 1}, not {shown(label)!r}"
            )
        name = row["image_name"]
        return Sample(
            id=f"{name}#{row['face_id_in_image']}",
            source=f"{self.folders[0]}/{name}",
            label=CLASSES[int(label)],
            box=_box(row, where),
            group=name,
        )

    def _split(self, image: str) -> str:
        draw = int.from_bytes(hashlib.sha256(f"{self._seed} {image}".encode()).digest()[:8], "big") / 2**64
        return next((split for split, bound in self._bounds.items() if draw < bound), next(reversed(self._bounds)))

    @property
    def _counts(self) -> Counts:
        return {(None, None): 91793}


def _named(header: list[str], where: str) -> tuple[str, ...]:
    columns = tuple(name.replace("confidence", "cofidence") for name in header)
    if sorted(columns) != sorted(_COLUMNS):
        raise FerkitError(
            f"{where}: the columns of ExpW's list are {', '.join(_COLUMNS)}, not {shown(', '.join(header))}"
        )
    return columns


def _box(row: dict[str, str], where: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(row[name]) for name in _BOX)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    if not (x0 < x1 and y0 < y1 and math.isfinite(x0 + y0 + x1 + y1)):
        values = " ".join(shown(row[name]) for name in _BOX)
        raise FerkitError(
            f"{where}: the box (left, top, right, bottom) {values} is no rectangle; ExpW's order is top, left, right, bottom"
        )
    return x0, y0, x1, y1
