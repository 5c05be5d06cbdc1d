"""Rows of an evaluation: one an annotated face, with its truth and what was predicted, in ``predictions.parquet``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferkit.errors import FerkitError
from ferkit.evaluation.figures import Answers, numbered
from ferkit.evaluation.resampling import Floats
from ferkit.evaluation.tables import read_table, selected, typed, write_table
from ferkit.results import columns
from ferkit.text import shown

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTIONS = "predictions.parquet"
ADDED = ("id", "true_label", "subject", "group", "split", "pose_from", "status", "error")
SCORED, NO_FACE, UNREADABLE = "scored", "no_face", "unreadable"
STATUSES = (SCORED, NO_FACE, UNREADABLE)
DRAWN = {"subject": "subjects", "group": "groups", "subject_or_group": "subjects or groups", "row": "faces"}
_KINDS = {**dict.fromkeys(("source", "label", "flags", *ADDED), "object"), "face": "Int64"}
_COMMAND = "ferkit evaluate"
_NAMED = 5  # ids in a message


def row_columns(labels: Sequence[str]) -> list[str]:
    """Names of the columns: those of ``ferkit predict``, then :data:`ADDED`."""
    return [*columns(labels), *ADDED]


def labels_of(rows: "DataFrame") -> tuple[str, ...]:
    """The labels that were predicted, in their columns' order."""
    return tuple(name.removeprefix("p_") for name in rows.columns if name.startswith("p_"))


def table(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> "DataFrame":
    """Rows as a DataFrame: numbers that are missing NaN, texts that are missing None."""
    import pandas

    return typed(pandas.DataFrame(list(rows), columns=row_columns(labels)), _KINDS)


def answers(rows: "DataFrame") -> Answers:
    """Truth and answers as numbers, and what is drawn together."""
    labels = labels_of(rows)
    number = {label: index for index, label in enumerate(labels)}
    scored = (rows["status"] == SCORED).to_numpy()
    guess = np.array([number.get(label, len(labels)) for label in rows["label"]], dtype=np.int64)
    truth = np.array([number[label] for label in rows["true_label"]], dtype=np.int64)
    return Answers(len(labels), truth, np.where(scored, guess, len(labels))[:, None], units(rows))


def drawn_by(rows: "DataFrame") -> str:
    """What a bootstrap draws, a key of :data:`DRAWN`."""
    kinds = {kind for kind, _ in _units(rows)} - {"row"}
    return "subject_or_group" if len(kinds) == 2 else kinds.pop() if kinds else "row"


def units(rows: "DataFrame") -> Any:
    """Numbers of the units that a bootstrap draws: a face's subject, else its group, else itself."""
    return numbered(_units(rows))


def _units(rows: "DataFrame") -> list[tuple[str, str]]:
    """The unit of each row, by kind and name."""
    subject, group = rows["subject"].notna(), rows["group"].notna()
    kinds = np.select([subject, group], ["subject", "group"], "row").tolist()
    names = rows["subject"].where(subject, rows["group"].where(group, rows["id"]))
    return list(zip(kinds, names, strict=True))


def probabilities(rows: "DataFrame") -> Floats:
    """Probabilities ``[N, C]``."""
    found: Floats = rows[[f"p_{label}" for label in labels_of(rows)]].to_numpy(dtype=np.float64)
    return found


def write_rows(path: Path, rows: "DataFrame", provenance: dict[str, Any]) -> None:
    """Write the rows, with where they come from in the file's metadata."""
    write_table(path, rows, _KINDS, provenance)


def read_rows(folder: Path) -> tuple["DataFrame", dict[str, Any]]:
    """The rows of a report's folder, and where they come from.

    Raises:
        FerkitError: If it is no such folder, or its rows are damaged; with the first that are.
    """
    content, provenance = read_table(folder, PREDICTIONS, _COMMAND)
    path = folder / PREDICTIONS
    names = row_columns([name.removeprefix("p_") for name in content.column_names if name.startswith("p_")])
    rows = selected(content, names, _KINDS, path, _COMMAND)
    check_rows(rows, shown(path))
    return rows, provenance


def check_rows(rows: "DataFrame", where: str) -> None:
    """Check that rows can be scored.

    Raises:
        FerkitError: If there are none, or ids, labels, statuses or probabilities are wrong; it names the first.
    """
    labels = labels_of(rows)
    if not len(rows):
        raise FerkitError(f"{where} has no rows: there is nothing to score")
    if len(labels) < 2:
        raise FerkitError(f"{where} has {len(labels)} columns p_… of probabilities: it takes at least 2")
    found = probabilities(rows)
    scored = (rows["status"] == SCORED).to_numpy()
    wrong = {
        "an id that another row has": rows["id"].duplicated().to_numpy() | rows["id"].isna().to_numpy(),
        f"a true_label that is none of {', '.join(labels)}": ~rows["true_label"].isin(labels).to_numpy(),
        f"a status that is none of {', '.join(STATUSES)}": ~rows["status"].isin(STATUSES).to_numpy(),
        f"a label that is none of {', '.join(labels)}": scored & ~rows["label"].isin(labels).to_numpy(),
        "probabilities that are missing or no numbers": scored & ~np.isfinite(found).all(1),
        "probabilities that are negative or don't add up to 1": scored
        & ((np.nan_to_num(found) < 0).any(1) | (np.abs(np.nan_to_num(found, nan=1.0).sum(1) - 1) > 1e-3)),
    }
    for what, rows_with in wrong.items():
        if rows_with.any():
            ids = ", ".join(map(repr, rows.loc[rows_with, "id"].head(_NAMED)))
            raise FerkitError(f"{where}: {int(rows_with.sum())} of {len(rows)} rows have {what}, first: {ids}")
