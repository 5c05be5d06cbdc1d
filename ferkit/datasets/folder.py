"""Data set ``folder``: a folder of pictures for each class, below splits or not."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ferkit.datasets import FolderConfig
from ferkit.datasets.names import ALL, check_split, class_name, in_order, sample_id, split_name
from ferkit.errors import FerkitError, ImageError
from ferkit.folders import find_images
from ferkit.images import IMAGE_SUFFIXES, shown, unreadable
from ferkit.interfaces import Context, Sample


class Picture(NamedTuple):
    """A picture's path, the name of its class folder, and of its split's folder or None."""

    path: Path
    class_folder: str
    split_folder: str | None


class Folder:
    """``path/happy/1.jpg``, or ``path/train/happy/1.jpg``; ids are these paths below ``path``.

    Folders that hold pictures are classes; where they hold folders only, they are splits. Without splits there is one,
    ``all``. What lies deeper in a class folder belongs to it. What starts with a dot is skipped.

    Raises:
        FerkitError: If ``path`` is no folder; when it is listed, if it holds no class folders.
    """

    def __init__(self, config: FolderConfig, context: Context) -> None:
        del context
        self._root, self._names = Path(config.path), config.labels
        self.is_crop = config.crops
        check_folder(self._root)

    @cached_property
    def _pictures(self) -> list[tuple[str, Picture]]:
        return [(split_name(item.split_folder or ALL), item) for item in class_pictures(self._root)]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: train, validation and test first."""
        return in_order(split for split, _ in self._pictures)

    def samples(self, split: str) -> Iterator[Sample]:
        """The pictures of ``split``, sorted by path.

        Raises:
            FerkitError: If there is no such split, or a class folder is named by an index only.
        """
        check_split(split, self.splits, shown(self._root))
        for found, item in self._pictures:
            if found == split:
                label = class_name(item.class_folder, self._names, shown(item.path.parent))
                yield Sample(id_below(item.path, self._root), str(item.path), label)


def check_folder(path: Path) -> None:
    """Check that ``path`` is a folder.

    Raises:
        FerkitError: If not.
    """
    if not path.is_dir():
        state = "is a file, not a folder" if path.exists() else "does not exist"
        raise FerkitError(f"the data's folder {shown(path)} {state}: check the option path")


def id_below(path: Path, root: Path) -> str:
    """What to call a picture on every machine: its path below the data set's folder."""
    return sample_id(path.relative_to(root).as_posix())


def class_pictures(root: Path) -> Iterator[Picture]:
    """Every picture below ``root``, in an order that is the same on every file system.

    Raises:
        FerkitError: If there are none, or pictures and folders are mixed so that splits can't be told from classes.
        ImageError: If a folder can't be searched.
    """
    tops = _folders(root)
    classes = [top for top in tops if _holds_pictures(top)]
    splits = [top for top in tops if top not in classes and _folders(top)]
    if classes and splits:
        raise FerkitError(
            f"{shown(root)}: {shown(classes[0].name)} holds pictures and {shown(splits[0].name)} holds folders only, so "
            "that classes can't be told from splits: lay all out as class/picture, or all as split/class/picture"
        )
    found = False
    for split in splits or [root]:
        for folder in _folders(split):
            for path in _pictures_below(folder):
                found = True
                yield Picture(path, folder.name, split.name if splits else None)
    if not found:
        raise FerkitError(
            f"{shown(root)} has no pictures in class folders: lay them out as happy/1.jpg or train/happy/1.jpg below it"
        )


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise unreadable(path, error) from error


def _holds_pictures(path: Path) -> bool:
    try:
        visible = (item for item in path.iterdir() if not item.name.startswith(".") and not item.is_dir())
        return any(item.suffix.lower() in IMAGE_SUFFIXES for item in visible)
    except OSError as error:
        raise unreadable(path, error) from error


def _pictures_below(folder: Path) -> Iterator[Path]:
    for found in find_images([folder]):
        if isinstance(found, tuple):
            error: ImageError = found[1]
            raise error
        yield found
