"""Tables of rows with where they come from, as a pandas DataFrame and as a Parquet file."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.errors import FerkitError
from ferkit.text import shown
from ferkit.writers import replacing

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

_META = b"ferkit"
_LATER = ("pose_score",)  # numbers that older reports lack: unknown there
Kinds = Mapping[str, str]
"""Column to ``object`` (text), ``Int64`` or ``boolean``; others are ``float64``."""


def typed(rows: "DataFrame", kinds: Kinds) -> "DataFrame":
    """Columns of their kinds: numbers that are missing NaN, texts that are missing None."""
    rows = rows.astype({name: kinds.get(name, "float64") for name in rows.columns})
    texts = [name for name in rows.columns if kinds.get(name) == "object"]
    return rows.assign(**{name: rows[name].where(rows[name].notna(), None) for name in texts})


def write_table(path: Path, rows: "DataFrame", kinds: Kinds, provenance: dict[str, Any]) -> None:
    """Write the rows, with where they come from in the file's metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    arrow = {"object": pa.string(), "Int64": pa.int64(), "boolean": pa.bool_(), "float64": pa.float64()}
    schema = pa.schema([(name, arrow[kinds.get(name, "float64")]) for name in rows.columns])
    content = pa.Table.from_pandas(rows, schema, preserve_index=False)
    content = content.replace_schema_metadata({_META: json.dumps(provenance).encode()})
    with replacing(path) as temporary:
        parquet.write_table(content, temporary)


def read_table(folder: Path, name: str, command: str) -> tuple["pa.Table", dict[str, Any]]:
    """A table of a report's folder, and where it comes from.

    Args:
        folder: The report.
        name: The table's file in it.
        command: What writes such reports, for messages.

    Raises:
        FerkitError: If there is no such file, or it can't be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / name
    if not path.is_file():
        there = "there is no such folder" if not folder.is_dir() else f"it has no {name}"
        raise FerkitError(f"{shown(folder)} is no report of {command} ({there}): name the folder given to its --out")
    try:
        content = parquet.read_table(path)
        return content, json.loads((content.schema.metadata or {}).get(_META, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise FerkitError(f"{shown(path)} can't be read ({cause}): evaluate again with --overwrite") from error


def selected(content: "pa.Table", names: Sequence[str], kinds: Kinds, path: Path, command: str) -> "DataFrame":
    """Columns of a table that was read.

    Raises:
        FerkitError: If one is missing, or of another type.
    """
    import pyarrow as pa

    for name in _LATER:
        if name in names and name not in content.column_names:
            content = content.append_column(name, pa.nulls(len(content), pa.float64()))
    there: Collection[str] = content.column_names
    if missing := [name for name in names if name not in there]:
        raise FerkitError(f"{shown(path)} has no column {', '.join(missing)}: it was not written by {command}")
    try:
        return typed(content.select(list(names)).to_pandas(), kinds)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise FerkitError(
            f"{shown(path)} has a column of another type ({error}): evaluate again with --overwrite"
        ) from error
