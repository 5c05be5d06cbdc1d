"""What a comparison found: pairs and figures, written to a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.evaluation.contrast import contrast
from ferkit.evaluation.pairing import paired
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import drawn_by
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
        from ferkit.evaluation.document import prepare_folder, write_report
        from ferkit.evaluation.report_of_comparison import blocks
        from ferkit.evaluation.sheet import draw_sheet

        folder = Path(folder)
        prepare_folder(folder, COMPARISON, overwrite)
        notes = [note for name in SHEETS if (note := draw_sheet(self.pairs, name.removesuffix(".jpg"), folder / name))]
        with replacing(folder / PAIRS) as temporary:
            self.pairs.to_parquet(temporary, index=False)
        write_report(folder, blocks(self, notes), COMPARISON, self.metrics)
        return notes
