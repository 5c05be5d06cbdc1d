"""A report's content, once, written as Markdown and as one HTML page that loads nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ferkit.errors import FerkitError
from ferkit.text import shown
from ferkit.writers import replacing

PAGE, REPORT = "report.html", "report.md"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { border-bottom: 2px solid #888 } svg { max-width: 100%; height: auto } code { overflow-wrap: anywhere }
"""


@dataclass(frozen=True)
class Title:
    """A heading; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of plain text below their header; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A picture as SVG, which Markdown leaves out."""

    svg: str


Block = Title | Text | Table | Figure


def to_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as GitHub's Markdown."""
    return "\n\n".join(filter(None, map(_markdown, blocks))) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Title(text, level):
            return f"{'#' * level} {_marked(text)}"
        case Text(text):
            return _marked(text)
        case Table(header, rows):
            rule = ["---", *["--:"] * (len(header) - 1)]
            lines = [[_marked(cell) for cell in header], rule, *([_marked(cell) for cell in row] for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Figure():
            return ""


def _marked(text: str) -> str:
    """Plain text in Markdown: what would be markup there is escaped, and it stays on its line."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def to_html(blocks: Sequence[Block]) -> str:
    """The blocks as a page with everything in it."""
    title = next((block.text for block in blocks if isinstance(block, Title)), "ferkit")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(map(_html, blocks))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _html(block: Block) -> str:
    match block:
        case Title(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Table(header, rows):
            top = "".join(f"<th>{escape(cell)}</th>" for cell in header)
            lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
            return f"<table><thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>"
        case Figure(svg):
            return f"<figure>{svg}</figure>"


def prepare_folder(folder: Path, last: str, overwrite: bool) -> None:
    """Make the folder of a report.

    Args:
        folder: Where it is to be.
        last: The file that is written last.
        overwrite: Whether it may be replaced.

    Raises:
        FerkitError: If there is one, and ``overwrite`` is false.
    """
    if (folder / last).exists() and not overwrite:
        raise FerkitError(f"{shown(folder)} holds a report: add --overwrite (overwrite=True), or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)


def write_report(folder: Path, blocks: Sequence[Block], name: str, metrics: Mapping[str, Any]) -> None:
    """Write ``report.html``, ``report.md`` and, as ``name``, the metrics; each whole or not at all."""
    texts = {
        PAGE: to_html(blocks),
        REPORT: to_markdown(blocks),
        name: json.dumps(metrics, indent=1, allow_nan=False) + "\n",
    }
    for file, text in texts.items():
        with replacing(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
