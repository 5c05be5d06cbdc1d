"""Data set ``rafdb``: the basic expressions of RAF-DB (Li et al., CVPR 2017)."""

import re
from collections.abc import Iterator
from pathlib import Path

from ferkit.datasets import RAFDBConfig
from ferkit.datasets.layouts import require, unlike
from ferkit.datasets.listed import Counts, Listed, class_counts
from ferkit.datasets.subsets import Subset, pose_lists
from ferkit.datasets.tables import read_lines
from ferkit.errors import FerkitError
from ferkit.images import shown
from ferkit.interfaces import Context, Sample
from ferkit.labels import RAFDB as CLASSES

LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")
_NAME = re.compile(r"((train|test)_\d+)(?:_aligned)?\.jpg")
_COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
_FILES = ("val_raf_db_list.txt", "val_raf_db_list_45.txt", "rafdb_occlusion_list.txt")
_LISTED = r"(?P<label>\d)/(?P<key>test_\d+)_aligned\.jpg"
SUBSETS = pose_lists(
    [f"RAF_DB_dir/{file}" for file in _FILES],
    [_LISTED, _LISTED, r"(?P<key>test_\d+)_aligned (?P<label>\d) .+"],
    [1247, 558, 734],
)


class RAFDB(Listed):
    """RAF-DB as it is unpacked, with the splits ``train`` and ``test``; ids are the names in its list.

    ``aligned`` pictures are crops, ``original`` ones scenes of which the largest face is meant.

    Raises:
        FerkitError: If the folder is not laid out so; when its list is read, if a line is wrong.
    """

    terms = "Research only, not commercial; neither pictures nor what is derived from them may be passed on: ask the authors."

    def __init__(self, config: RAFDBConfig, context: Context) -> None:
        del context
        self._path, self._images = Path(config.path), config.images
        self.is_crop = config.images == "aligned"
        self._list, folder = require(self._path, "rafdb", LISTS, ("Image",))
        self.folders = (folder / config.images,)
        if not self.folders[0].is_dir():
            raise unlike(self._path, "rafdb", f"Image/{config.images} (the option images)")
        self._subset = Subset.open(config.subset, config.lists, SUBSETS, CLASSES)

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        suffix = "_aligned.jpg" if self.is_crop else ".jpg"
        folder = str(self.folders[0])
        for where, text in read_lines(self._list):
            name, _, label = text.partition(" ") if "\t" not in text else text.partition("\t")
            match = _NAME.fullmatch(name)
            if match is None:
                raise FerkitError(
                    f"{where}: {shown(text)!r} is no line of RAF-DB's list, such as 'train_00001.jpg 5': is it another file?"
                )
            if label.strip() not in ("1", "2", "3", "4", "5", "6", "7"):
                raise FerkitError(
                    f"{where}: the label must be a number from 1 to 7, not {shown(label.strip())!r}: RAF-DB counts "
                    f"{', '.join(CLASSES)} from 1"
                )
            stem, split = match[1], match[2]
            yield where, split, Sample(f"{stem}.jpg", f"{folder}/{stem}{suffix}", CLASSES[int(label) - 1])

    def _key(self, sample: Sample) -> str:
        return sample.id.removesuffix(".jpg")

    @property
    def _counts(self) -> Counts:
        return class_counts(CLASSES, _COUNTS)
