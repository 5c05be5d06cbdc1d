"""The pictures that files, folders and patterns name."""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ferkit.errors import ImageError
from ferkit.images import IMAGE_SUFFIXES, shown, unreadable


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path | tuple[Path, ImageError]]:
    """The pictures that ``paths`` name, found as they are asked for, each absolute path once.

    Args:
        paths: Files (taken whatever their suffix), folders (searched in sorted order, through links to folders, for
            :data:`IMAGE_SUFFIXES`; what starts with a dot is skipped), or patterns with ``*``, ``?``, ``[…]`` and
            ``**``, which enters no links and no hidden folders.

    Yields:
        A path in the user's spelling; or, for what can't be searched, the path with an ``ImageError``: ``unreadable``
        (missing, forbidden, a pattern without match) or ``directory_loop`` (a link to a folder that it lies in).
    """
    seen: set[str] = set()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        for found in _expand(os.fsdecode(path)):
            key = os.path.abspath(found[0] if isinstance(found, tuple) else found)  # noqa: PTH100 - resolves no links
            if key not in seen:
                seen.add(key)
                yield found


def _expand(spelling: str) -> Iterator[Path | tuple[Path, ImageError]]:
    """The files one path names, and what could not be searched."""
    path = Path(spelling)
    if not spelling:  # Path("") is the working folder
        yield path, ImageError("unreadable", "an empty path names no file: is a variable unset?")
        return
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if not glob.has_magic(spelling) or os.path.lexists(path):
            yield path, unreadable(path, error)
            return
    else:
        yield from _walk(path) if stat.S_ISDIR(mode) else [path]
        return
    matches = _matches(path)
    if not matches:
        yield path, ImageError("unreadable", f"no file matches {shown(path)}: check the pattern")
    for match in matches:
        yield from _walk(match) if os.path.isdir(match) else [match]  # noqa: PTH112 - never raises


def _matches(pattern: Path) -> list[Path]:
    """Sorted. By pathlib, whose ``**`` enters no links; that of the module glob follows loops to the longest path."""
    parts = list(pattern.parts)
    while parts and parts[-1] == "**":  # the folder itself, which is searched anyway
        parts.pop()
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    folder, rest = Path(*parts[:first]), parts[first:]
    if not rest:
        return [folder] if os.path.lexists(folder) else []
    try:
        found = sorted(folder.glob("/".join(rest)))
    except (OSError, ValueError):  # no valid pattern
        return []
    if any(part.startswith(".") for part in rest):
        return found
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _walk(folder: Path) -> Iterator[Path | tuple[Path, ImageError]]:
    """Pictures below ``folder`` as ``sorted`` would order their paths."""
    above: frozenset[tuple[int, int]] = frozenset()
    pending = [(folder, above)]  # a stack, not recursion: folders can be nested deeper than Python calls
    while pending:
        path, above = pending.pop()
        try:
            if not path.is_dir():
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    yield path
                continue
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                message = f"{shown(path)} links to a folder it lies in: remove the link"
                yield path, ImageError("directory_loop", message)
                continue
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208 - plain names
        except OSError as error:
            yield path, unreadable(path, error)
            continue
        pending += [(path / name, above | {identity}) for name in reversed(names)]
