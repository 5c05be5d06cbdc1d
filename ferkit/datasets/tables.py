"""Tables that people have, as CSV, JSON lines or Parquet: row by row, every value as text."""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferkit.errors import FerkitError
from ferkit.images import shown, unreadable

Row = tuple[str, dict[str, str]]
"""Where it stands (file and line), and its values by column; a missing value is ``""``."""
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def read_table(path: Path, ignore: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a table, one at a time.

    Args:
        path: A file that ends in ``.csv`` (UTF-8, with or without a mark, commas, a header), ``.jsonl`` or ``.parquet``.
        ignore: Columns that are left out.

    Raises:
        FerkitError: If it is none of these, can't be read, or is broken; with the line.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FerkitError(f"{shown(path)}: a table must end in {', '.join(_READERS)}: convert it")
    if path.is_dir():
        raise FerkitError(f"{shown(path)} is a folder: name the table in it")
    with explained(path):
        for where, row in reader(path, ignore):
            _check_text(row, where)
            yield where, row


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a list with where they stand, without what surrounds them; empty ones are left out.

    Args:
        path: UTF-8, with or without a mark, any ends of lines.

    Raises:
        FerkitError: If it can't be read; with the line.
    """
    with explained(path), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if text := line.strip():
                yield f"{shown(path)}, line {number}", text


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what reading a file of text raises into a :class:`FerkitError`."""
    try:
        if path.stat().st_size == 0:
            raise FerkitError(f"{shown(path)} is empty (0 bytes): copy or write it again")
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise FerkitError(
            f"{shown(path)}, line {_first_foreign_line(path)} is not UTF-8: save the table as UTF-8, for example with "
            "iconv -f latin1 -t utf-8"
        ) from error


def _read_csv(path: Path, ignore: Collection[str]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if twice := sorted({name for name in header if header.count(name) > 1}):
                raise FerkitError(f"{shown(path)} has the column {twice[0]!r} twice: remove or rename one")
            for fields in reader:
                where = f"{shown(path)}, line {reader.line_num}"
                if len(fields) not in (0, len(header)):
                    raise FerkitError(
                        f"{where} has {len(fields)} values for {len(header)} columns: put values that hold commas in "
                        "double quotes"
                    )
                if fields:
                    row = zip(header, fields, strict=True)
                    yield where, {name: value for name, value in row if name not in ignore}
        except csv.Error as error:
            raise FerkitError(f"{shown(path)}, line {reader.line_num} is no CSV ({error}): write it again") from error


def _read_jsonl(path: Path, ignore: Collection[str]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            where = f"{shown(path)}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise FerkitError(f"{where} is no JSON ({error.msg}, column {error.colno}): write it again") from error
            except RecursionError as error:
                raise FerkitError(f"{where} is nested too deep: write one flat JSON object a line") from error
            except ValueError as error:  # the one left: Python reads no integers of thousands of digits
                raise FerkitError(f"{where} holds an integer with too many digits: write it again") from error
            if not isinstance(row, dict):
                raise FerkitError(f"{where} must be one JSON object, as in {{…}}, with a key a column")
            yield where, _texts(row, ignore, where)


def _read_parquet(path: Path, ignore: Collection[str]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name not in ignore]
            number = 0
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{shown(path)}, row {number}"
                    yield where, _texts(row, ignore, where)
    except (pa.ArrowException, OSError) as error:
        cause = str(error).partition("\n")[0]
        raise FerkitError(f"{shown(path)} is no Parquet file that can be read ({cause}): write it again") from error


_READERS: dict[str, Callable[[Path, Collection[str]], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _check_text(row: dict[str, str], where: str) -> None:
    """Check that names and values can be written to files, and name files."""
    for name, value in row.items():
        if _UNWRITABLE.search(name + value):
            raise FerkitError(f"{where}: {name!r} holds a null byte or half a character, {value!r}: write it again")


def _texts(row: dict[str, Any], ignore: Collection[str], where: str) -> dict[str, str]:
    return {name: _text(value, f"{where}: {name}") for name, value in row.items() if name not in ignore}


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FerkitError(f"{where} must be text or a number, not {type(value).__name__}")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _first_foreign_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1  # what is cut short at the end of the file
