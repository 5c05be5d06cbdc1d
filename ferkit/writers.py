"""Tables of faces as CSV, JSON lines or Parquet, row by row, in place at once when they are complete."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex
from typing import Any

from ferkit.errors import FerkitError
from ferkit.results import columns

Row = dict[str, Any]
ROW_GROUP = 10_000
_TEXT = ("source", "label", "flags")


def check_format(path: Path) -> None:
    """Check that ``path`` ends in a format that can be written.

    Raises:
        FerkitError: If it does not; it names those that can.
    """
    if path.suffix.lower() not in _WRITERS:
        raise FerkitError(f"{path}: write results to a file that ends in {', '.join(_WRITERS)}")


def write_table(path: Path, rows: Iterable[Row], labels: Sequence[str]) -> None:
    """Write one line a face with the columns of :func:`ferkit.results.columns`, in the format of the suffix.

    None is an empty field in CSV and null elsewhere. JSON lines have the landmarks of the rows as well. A path that is no
    Unicode is written with its bytes escaped.
    """
    with replacing(path) as temporary:
        _WRITERS[path.suffix.lower()](temporary, rows, columns(labels))


def write_csv(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write ``names`` and the values of ``rows`` under them."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        line = io.StringIO(newline="")
        # what is quoted depends on the terminator: so named, a carriage return inside a file name is
        writer = csv.DictWriter(line, names, extrasaction="ignore", lineterminator="\r\n")
        for row in chain([dict(zip(names, names, strict=True))], rows):
            writer.writerow(row)
            file.write(line.getvalue().removesuffix("\r\n") + "\n")
            line.seek(0)
            line.truncate()


def _write_jsonl(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            known = {name: row.get(name) for name in names}  # a journal of before may lack a column
            known |= {"landmarks": row["landmarks"]} if "landmarks" in row else {}
            file.write(json.dumps(known, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"face": pa.int64(), **dict.fromkeys(_TEXT, pa.string())}
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in names])
    each = iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while chunk := list(islice(each, ROW_GROUP)):
            for row in chunk:
                row["source"] = row["source"].encode("utf-8", "backslashreplace").decode()
            writer.write_table(pa.Table.from_pylist(chunk, schema))


_WRITERS: dict[str, Callable[[Path, Iterable[Row], Sequence[str]], None]] = {
    ".csv": write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def make_folder(folder: Path, option: str) -> list[Path]:
    """Make a folder that ``option`` names, and those it lies in.

    Returns:
        What was not there before, the innermost first.

    Raises:
        FerkitError: If it can't be made or written to, or there is a file of that name.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        taken = [place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()]
        why = f"{taken[0]} is a file" if taken else f"the folder can't be made ({error.strerror})"
        raise FerkitError(f"{option} {folder}: {why}: name another folder") from error
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``, which it becomes if all goes well; else it is removed and ``path`` stays."""
    path = path.resolve()  # a link stays one
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # as the umask has it, also where a library put a private file of its own there
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
