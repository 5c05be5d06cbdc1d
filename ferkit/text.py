"""Text for a person."""

from pathlib import Path


def shown(text: str | Path) -> str:
    """``text`` on one line, in characters that can be written."""
    return str(text) if str(text).isprintable() else ascii(str(text))
