"""From a command's arguments to its input pictures."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from ferkit.cli.common import shown
from ferkit.errors import FerkitError, ImageError


def arguments(paths: Iterable[str]) -> Iterator[str]:
    """The paths given; for ``-`` those on standard input, one a line, or NUL-separated if there is a NUL."""
    for path in paths:
        if path != "-":
            yield path
            continue
        data = sys.stdin.buffer.read() if sys.stdin else b""
        for item in data.split(b"\0") if b"\0" in data else data.splitlines():
            if item.strip():
                yield os.fsdecode(item)


def find(given: Sequence[str]) -> dict[str, ImageError | None]:
    """Every input in order, with the error of those that can't be searched.

    Raises:
        FerkitError: If there is none.
    """
    from ferkit.folders import find_images

    inputs: dict[str, ImageError | None] = {}
    for found in find_images(given):
        path, error = found if isinstance(found, tuple) else (found, None)
        inputs[str(path)] = error
    if not inputs:
        where = ", ".join(map(shown, given)) or "what standard input names: it is empty"
        raise FerkitError(f"no image in {where}")
    return inputs
