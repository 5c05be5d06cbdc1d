"""A bar on stderr."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, shows: bool | None = None) -> Iterator[T]:
    """Pass items on, with a bar on stderr if ``shows`` says so; None: if that is a terminal."""
    if not (sys.stderr.isatty() if shows is None else shows):
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total)
