"""What is in the cache: counted, cleared and checked, room by room. Nothing but entries is ever touched."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ferkit.cache import READERS, DamagedError

_ENTRY = re.compile(r"[0-9a-f]{64}(\.[a-z]+)")
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{64}\.[a-z]+\.[0-9a-f]{8}\.tmp")
ROOMS = ("features", "teacher", "turned", "views")
"""What ferkit itself keeps, whether there is any of it or not."""
ABANDONED = 3600.0  # seconds after which a half-written file is nobody's any more


@dataclass(frozen=True)
class Room:
    """A room's entries: how many, their bytes, and when the first and last of them were written, seconds since 1970."""

    name: str
    entries: int
    bytes: int
    oldest: float | None
    newest: float | None


def room_names(folder: Path) -> list[str]:
    """Names of the rooms that hold entries, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and any(entries(folder, path.name)))


def entries(folder: Path, room: str) -> Iterator[Path]:
    """Files of a room's entries."""
    for path in _files(folder, room):
        if (found := _ENTRY.fullmatch(path.name)) and found[1] in READERS:
            yield path


def describe(folder: Path, room: str) -> Room:
    """Count a room."""
    count, size, oldest, newest = 0, 0, None, None
    for path in entries(folder, room):
        with suppress(FileNotFoundError):  # cleared by another process
            status = path.stat()
            count, size = count + 1, size + status.st_size
            oldest = status.st_mtime if oldest is None else min(oldest, status.st_mtime)
            newest = status.st_mtime if newest is None else max(newest, status.st_mtime)
    return Room(room, count, size, oldest, newest)


def clear(folder: Path, room: str, older_than: float = 0.0) -> tuple[int, int]:
    """Remove a room's entries written more than ``older_than`` seconds ago; their number and bytes."""
    limit, count, size = time.time() - older_than, 0, 0
    for path in entries(folder, room):
        with suppress(FileNotFoundError):
            status = path.stat()
            if older_than and status.st_mtime > limit:
                continue
            path.unlink()
            count, size = count + 1, size + status.st_size
    sweep(folder, room)
    return count, size


def damaged(folder: Path, room: str) -> Iterator[tuple[Path, str | None]]:
    """Every entry of a room with what is wrong with it, or None.

    Raises:
        OSError: If one can't be read.
    """
    for path in entries(folder, room):
        try:
            READERS[path.suffix](path)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            yield path, str(error)
        else:
            yield path, None


def sweep(folder: Path, room: str) -> int:
    """Remove what killed processes left half written; how many files."""
    count = 0
    for path in _files(folder, room):
        with suppress(FileNotFoundError):
            if _LEFT_BEHIND.fullmatch(path.name) and path.stat().st_mtime < time.time() - ABANDONED:
                path.unlink()
                count += 1
    return count


def _files(folder: Path, room: str) -> Iterator[Path]:
    for shelf in sorted((folder / room).glob("[0-9a-f][0-9a-f]")):
        yield from sorted(shelf.iterdir())
