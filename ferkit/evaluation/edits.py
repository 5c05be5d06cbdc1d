"""Rows of a normalizer's evaluation: one an annotated face, with what came back, in ``edits.parquet``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.errors import FerkitError
from ferkit.evaluation.rows import SCORED
from ferkit.evaluation.tables import read_table, selected, typed, write_table
from ferkit.text import shown

if TYPE_CHECKING:
    from pandas import DataFrame

EDITS = "edits.parquet"
COLUMNS = (
    *("id", "source", "face", "x0", "y0", "x1", "y1", "detection_score", "true_label", "subject", "group", "split"),
    *("yaw", "pitch", "roll", "pose_score", "pose_from", "decision", "seconds", "cached", "faces_after"),
    *("yaw_before", "pitch_before", "yaw_after", "pitch_after"),
    *("label_before", "label_after", "neutral_before", "neutral_after", "frontal", "error"),
)
COSINE, BEFORE, AFTER = "_cosine", "_to_frontal_before", "_to_frontal_after"
_KINDS = {
    **dict.fromkeys(("id", "source", "true_label", "subject", "group", "split", "pose_from", "decision"), "object"),
    **dict.fromkeys(("label_before", "label_after", "frontal", "error"), "object"),
    **dict.fromkeys(("face", "faces_after"), "Int64"),
    "cached": "boolean",
}
_COMMAND = "ferkit evaluate-normalizer"


def edit_columns(encoders: Sequence[str]) -> list[str]:
    """Names of the columns: :data:`COLUMNS`, then three cosines an encoder of the judge."""
    return [*COLUMNS, *(f"{name}{end}" for name in encoders for end in (COSINE, BEFORE, AFTER))]


def encoders_of(rows: "DataFrame") -> list[str]:
    """The judge's encoders."""
    return [name.removesuffix(COSINE) for name in rows.columns if name.endswith(COSINE)]


def edit_table(rows: Sequence[dict[str, Any]], encoders: Sequence[str]) -> "DataFrame":
    """Rows as a DataFrame; the decision on a face that was missed is why: ``no_face`` or ``unreadable``."""
    import pandas

    decided = [row if row["status"] == SCORED else {**row, "decision": row["status"]} for row in rows]
    return typed(pandas.DataFrame(decided, columns=edit_columns(encoders)), _KINDS)


def write_edits(path: Path, rows: "DataFrame", provenance: dict[str, Any]) -> None:
    """Write the rows, with where they come from in the file's metadata."""
    write_table(path, rows, _KINDS, provenance)


def read_edits(folder: Path) -> tuple["DataFrame", dict[str, Any]]:
    """The rows of a report's folder, and where they come from.

    Raises:
        FerkitError: If it is no such folder, or its rows are damaged.
    """
    content, provenance = read_table(folder, EDITS, _COMMAND)
    encoders = [name.removesuffix(COSINE) for name in content.column_names if name.endswith(COSINE)]
    rows = selected(content, edit_columns(encoders), _KINDS, folder / EDITS, _COMMAND)
    if not len(rows) or not rows["id"].is_unique:
        raise FerkitError(f"{shown(folder / EDITS)} has no rows, or an id twice: evaluate again with --overwrite")
    return rows, provenance
