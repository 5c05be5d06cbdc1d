"""What an evaluation of a normalizer found: rows and figures, written to a folder and read from it."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.evaluation.edit_scoring import score_edits
from ferkit.evaluation.edits import EDITS, read_edits, write_edits
from ferkit.evaluation.evaluation import METRICS
from ferkit.evaluation.resampling import Bootstrap

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class NormalizerEvaluation:
    """What a normalizer made of annotated faces.

    Attributes:
        rows: One row an annotated face, missed ones included, with the columns of ``edits.parquet``.
        metrics: What ``metrics.json`` holds.
        provenance: Recipe, versions, weights and their licences, data, pose estimator and judge.
    """

    rows: "DataFrame"
    metrics: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls, rows: "DataFrame", provenance: dict[str, Any], *, resamples: int = 10_000, seed: int = 0
    ) -> "NormalizerEvaluation":
        """The figures of rows."""
        metrics = score_edits(rows, provenance["judge"]["labels"], Bootstrap(resamples, seed))
        return cls(rows, {**metrics, "provenance": provenance}, provenance)

    @classmethod
    def read(cls, folder: str | PathLike[str], *, resamples: int = 10_000, seed: int = 0) -> "NormalizerEvaluation":
        """Make the figures of a report again: no model, no data.

        Args:
            folder: Written by :meth:`write`, or ``ferkit evaluate-normalizer --out``.
            resamples: Of the bootstrap.
            seed: Of the bootstrap.

        Raises:
            FerkitError: If it holds no such rows, or damaged ones.
        """
        rows, provenance = read_edits(Path(folder))
        return cls.of(rows, provenance, resamples=resamples, seed=seed)

    def write(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write ``report.html``, ``report.md``, ``metrics.json`` and, last, ``edits.parquet``; each whole or not at all.

        Raises:
            FerkitError: If there is a report, and ``overwrite`` is false.
        """
        from ferkit.evaluation.document import prepare_folder, write_report
        from ferkit.evaluation.edit_report import blocks

        folder = Path(folder)
        prepare_folder(folder, EDITS, overwrite)
        write_report(folder, blocks(self), METRICS, self.metrics)
        write_edits(folder / EDITS, self.rows, self.provenance)
