"""What a comparison found: pairs and figures, written to a folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.errors import FerkitError
from ferkit.evaluation.contrast import contrast
from ferkit.evaluation.evaluation import PAGE, REPORT
from ferkit.evaluation.pairing import paired
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import drawn_by
from ferkit.text import shown
from ferkit.writers import replacing

if TYPE_CHECKING:
    from pandas import DataFrame

COMPARISON, PAIRS = "comparison.json", "pairs.parquet"
Rows = tuple["DataFrame", dict[str, Any]]
SHEETS = ("gained.jpg", "lost.jpg")


@dataclass(frozen=True, eq=False)
class Comparison:
    """B against A on the same faces.

    Attributes:
        pairs: One row a common face: ``id, source, x0, y0, x1, y1, true_label, yaw, label_a, confidence_a, status_a, label_b,
            confidence_b, status_b, change``.
        metrics: What ``comparison.json`` holds.
        provenance: A's and B's.
    """

    pairs: "DataFrame"
    metrics: dict[str, Any]
    provenance: dict[str, Mapping[str, Any]]

    @classmethod
    def of(cls, a: Rows, b: Rows, *, resamples: int = 10_000, seed: int = 0) -> "Comparison":
        """Compare the rows of two evaluations.

        Args:
            a: Checked rows and their provenance.
            b: Likewise.
            resamples: Of the bootstrap.
            seed: Of the bootstrap.

        Raises:
            FerkitError: If they have no id in common, or the true labels of one differ.
        """
        pairs = paired(a[0], b[0])
        figures = contrast(pairs, Bootstrap(resamples, seed))
        figures["bootstrap"]["drawn_by"] = drawn_by(a[0][a[0]["id"].isin(pairs.rows["id"])])
        provenance: dict[str, Mapping[str, Any]] = {"a": a[1], "b": b[1]}
        return cls(pairs.rows, {**figures, "provenance": provenance}, provenance)

    def write(self, folder: str | PathLike[str], *, overwrite: bool = False) -> list[str]:
        """Write ``report.html``, ``report.md``, ``pairs.parquet``, ``gained.jpg`` and ``lost.jpg``, last ``comparison.json``.

        Returns:
            What could not be drawn, and why: pictures that are gone are on no sheet.

        Raises:
            FerkitError: If there is a comparison, and ``overwrite`` is false.
        """
        from ferkit.evaluation.document import to_html, to_markdown
        from ferkit.evaluation.report_of_comparison import blocks
        from ferkit.evaluation.sheet import draw_sheet

        folder = Path(folder)
        if (folder / COMPARISON).exists() and not overwrite:
            raise FerkitError(
                f"{shown(folder)} holds a comparison: add --overwrite (overwrite=True), or choose another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        notes = [note for name in SHEETS if (note := draw_sheet(self.pairs, name.removesuffix(".jpg"), folder / name))]
        content = blocks(self, notes)
        with replacing(folder / PAIRS) as temporary:
            self.pairs.to_parquet(temporary, index=False)
        texts = {
            PAGE: to_html(content),
            REPORT: to_markdown(content),
            COMPARISON: json.dumps(self.metrics, indent=1, allow_nan=False) + "\n",
        }
        for name, text in texts.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        return notes
