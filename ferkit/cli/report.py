"""What ``ferkit predict`` says to a person: progress, errors, a table, a summary."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ferkit.cli.common import print_table, say, shown
from ferkit.journal import Record

ERRORS_SHOWN = 10


class Report:
    """Prints the first errors as they come, and a summary with the speed since it was made."""

    def __init__(self) -> None:
        self._errors = 0
        self._read = 0
        self._started = time.monotonic()

    def add(self, record: Record) -> None:
        """Take note of an input that was just tried."""
        self._read += not record.failed
        if record.error and record.failed:
            self._errors += 1
            if self._errors <= ERRORS_SHOWN:
                kind, message = record.error
                say(f"{kind}: {shown(message)}")

    def summary(self, count: Counter[str], written: str = "", details: str = "") -> None:
        """Print one line on what ``count`` (of :func:`tally`) says, where it was ``written``, and where ``details`` are."""
        if self._errors > ERRORS_SHOWN:
            say(f"… and {self._errors - ERRORS_SHOWN} errors more" + (f": see {details}" if details else ""))
        speed = self._read / max(time.monotonic() - self._started, 1e-9)
        empty = f" ({count['no_face']} without a face)" if count["no_face"] else ""
        say(
            f"{_number(count['images'], 'image')}{empty}, {_number(count['faces'], 'face')}, "
            f"{_number(count['failed'], 'error')}, {speed:.1f} photos/s" + (f" → {written}" if written else "")
        )


def tally(count: Counter[str], record: Record) -> None:
    """Add a record to ``count``: pictures read, their faces, those without a face, inputs that failed."""
    count.update(
        images=int(not record.failed),
        faces=record.faces,
        no_face=int(not record.faces and not record.failed),
        failed=int(record.failed),
    )


def print_faces(rows: Sequence[dict[str, Any]]) -> None:
    """Print a table for a person."""
    print_table(
        ("source", "face", "box", "yaw pitch roll", "label", "confidence", "flags"), [_cells(row) for row in rows]
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    box = [row[name] for name in ("x0", "y0", "x1", "y1")]
    return (
        row["source"],
        str(row["face"]),
        "" if None in box else " ".join(f"{value:.0f}" for value in box),
        _pose(row),
        row["label"],
        "" if row["confidence"] is None else f"{row['confidence']:.0%}",
        row["flags"].replace(";", " "),
    )


def _pose(row: dict[str, Any]) -> str:
    """Yaw, pitch and roll as far as they are known."""
    angles = [row[name] for name in ("yaw", "pitch", "roll")]
    return "" if angles == [None] * 3 else " ".join("?" if angle is None else f"{angle:+.0f}°" for angle in angles)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
