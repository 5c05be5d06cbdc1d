"""Annotated copies of pictures: one file a picture, under a name that no other has."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ferkit.errors import FerkitError
from ferkit.writers import make_folder, replacing

if TYPE_CHECKING:
    from ferkit.types import Predictions

_LONGEST = 100
"""Bytes of a stem: names end at 255, on some encrypted disks at 143, and number, digest and what temporary files add follow."""


class Copies:
    """Where the annotated copy of each source goes.

    Args:
        folder: Made if there is none.
        arguments: What was given on the command line.
        sources: Every picture of the run. Those that share a name get part of a digest of their path.

    Raises:
        FerkitError: If the folder holds inputs, or would be searched for them the next time, or can't be made.
    """

    def __init__(self, folder: Path, arguments: Iterable[str], sources: Sequence[str]) -> None:
        self._folder = folder
        apart(folder, "--annotate", arguments, sources)
        make_folder(folder, "--annotate")
        names = distinct({source: _name(source) for source in sources})
        self._paths = {source: folder / name for source, name in names.items()}

    def exists(self, source: str) -> bool:
        """Whether the copy of ``source`` is there."""
        return self._paths[source].is_file()

    def save(self, source: str, predictions: "Predictions") -> None:
        """Draw the faces of ``source``, the only picture of ``predictions``, on a copy of it.

        Raises:
            ImageError: If it can't be read any more.
        """
        path = self._paths[source]
        picture = predictions.draw(0)
        with replacing(path) as temporary:
            picture.save(temporary, format="PNG" if path.suffix == ".png" else "JPEG", quality=95)


def apart(folder: Path, option: str, arguments: Iterable[str], sources: Iterable[str]) -> None:
    """Check that ``folder``, named by ``option``, holds no inputs and is not searched for them.

    Raises:
        FerkitError: If it does, or is.
    """
    own = _real(folder)
    searched = {_real(argument) for argument in arguments if Path(argument).is_dir()}
    if searched & {own, *own.parents} or own in {_real(source).parent for source in sources}:
        raise FerkitError(
            f"{option} {folder}: pictures are read from there, and copies would mix with them: choose another folder"
        )


def _real(path: str | Path) -> Path:
    """Links followed; one that leads to itself stays where it is, of which Path.resolve would complain."""
    return Path(os.path.realpath(path))


def plain_stem(source: str) -> str:
    """A source's name without suffix, as every file system takes it; one that is too long ends in part of a digest."""
    stem = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in Path(source).stem)
    encoded = stem.encode()
    if len(encoded) <= _LONGEST:
        return stem
    digest = f"-{_digest(source)}"
    return encoded[: _LONGEST - len(digest)].decode(errors="ignore") + digest


def distinct(names: Mapping[str, str]) -> dict[str, str]:
    """Names by source; those that several share, but for case, get part of a digest of their source."""
    count = Counter(name.casefold() for name in names.values())
    return {
        source: name if count[name.casefold()] == 1 else _with_digest(name, source) for source, name in names.items()
    }


def _name(source: str) -> str:
    """A plain name for a copy: PNG for PNG, JPEG for everything else."""
    return plain_stem(source) + (".png" if Path(source).suffix.lower() == ".png" else ".jpg")


def _with_digest(name: str, source: str) -> str:
    path = Path(name)
    return f"{path.stem}-{_digest(source)}{path.suffix}"


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
