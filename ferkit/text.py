"""Text for a person."""

from pathlib import Path


def shown(text: str | Path) -> str:
    """``text`` on one line, in characters that can be written."""
    return str(text) if str(text).isprintable() else ascii(str(text))


def how_many(n: int, one: str) -> str:
    """How many, such as "1 face" and "2,000 faces"."""
    return f"{n:,} {one}{'s' * (n != 1)}"
