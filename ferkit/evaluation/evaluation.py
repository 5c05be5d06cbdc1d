"""What an evaluation found: rows and metrics, written to a folder and read from it."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import PREDICTIONS, labels_of, read_rows, write_rows
from ferkit.evaluation.scoring import score

if TYPE_CHECKING:
    from pandas import DataFrame

METRICS = "metrics.json"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions with their truth, and figures of them.

    Attributes:
        rows: One row an annotated face: the columns of ``ferkit predict``, and ``id, true_label, subject, group, split,
            pose_from, status, error``.
        metrics: What ``metrics.json`` holds.
        provenance: Recipe, versions, weights and their licences, data and pose estimator.
    """

    rows: "DataFrame"
    metrics: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls, rows: "DataFrame", provenance: dict[str, Any], *, resamples: int = 10_000, seed: int = 0
    ) -> "Evaluation":
        """The figures of rows that were checked."""
        metrics = score(rows, Bootstrap(resamples, seed))
        return cls(rows, {**metrics, "provenance": provenance}, provenance)

    @classmethod
    def read(cls, folder: str | PathLike[str], *, resamples: int = 10_000, seed: int = 0) -> "Evaluation":
        """Score the predictions of a report again: no model, no data.

        Args:
            folder: Written by :meth:`write`, or ``ferkit evaluate --out``.
            resamples: Of the bootstrap.
            seed: Of the bootstrap.

        Raises:
            FerkitError: If it holds no predictions, or damaged ones.
        """
        rows, provenance = read_rows(Path(folder))
        return cls.of(rows, provenance, resamples=resamples, seed=seed)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that were predicted, in the order of the confusion matrix."""
        return labels_of(self.rows)

    def write(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write ``report.html``, ``report.md``, ``metrics.json`` and, last, ``predictions.parquet``; each whole or not at all.

        Raises:
            FerkitError: If there is a report, and ``overwrite`` is false.
        """
        from ferkit.evaluation.document import prepare_folder, write_report
        from ferkit.evaluation.report import blocks

        folder = Path(folder)
        prepare_folder(folder, PREDICTIONS, overwrite)
        write_report(folder, blocks(self), METRICS, self.metrics)
        write_rows(folder / PREDICTIONS, self.rows, self.provenance)
