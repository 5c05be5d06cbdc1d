"""From the reports of arms to one table: figures by yaw, differences to a baseline, spread over seeds; plain data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferkit.evaluation.compare import compare
from ferkit.evaluation.contrast import holm
from ferkit.evaluation.evaluation import METRICS
from ferkit.evaluation.figures import summary
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import answers, read_rows

if TYPE_CHECKING:
    from pandas import DataFrame

FIGURES = ("accuracy", "accuracy_all", "uar", "macro_f1")
COUNTS = ("n_no_face", "n_unreadable", "n_no_pose", "n_edit_failed", "n_edit_rejected", "n_not_turned")
YAW = ("0-30", ">30", ">45", "no pose")
"""Bins of |yaw| in degrees; >45 is within >30, as in the published lists of hard poses."""


def figures(report: Path, baseline: Path | None, bootstrap: Bootstrap) -> dict[str, Any]:
    """What is told of one report.

    Args:
        report: Folder of an evaluation.
        baseline: Folder of the evaluation that it is compared with, whose pose decides the bins; None: there is none.
        bootstrap: Of intervals by yaw and of differences.

    Returns:
        Figures with intervals, counts of what was missed, ``by_yaw``, and ``against_baseline``, None where it is that or
        there is none.
    """
    metrics = json.loads((report / METRICS).read_text(encoding="utf-8"))
    rows, _ = read_rows(report)
    pose = rows if baseline is None else read_rows(baseline)[0]
    metrics["n_not_turned"] = metrics["flags"].get("not_turned", 0)
    names = ("n", "n_scored", "too_small", *FIGURES, *(f"{name}_interval" for name in FIGURES), *COUNTS)
    return {
        **{name: metrics[name] for name in names},
        "by_yaw": _by_yaw(rows, dict(zip(pose["id"], pose["yaw"], strict=True)), bootstrap),
        "against_baseline": _against(baseline, report, bootstrap) if baseline and baseline != report else None,
    }


def _by_yaw(rows: "DataFrame", yaw_of: Mapping[str, float], bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    yaw = np.abs(np.array([yaw_of.get(key, np.nan) for key in rows["id"]], dtype=np.float64))
    there = dict(zip(YAW, (yaw <= 30, yaw > 30, yaw > 45, np.isnan(yaw)), strict=True))
    own = answers(rows)
    return {name: summary(own.select(inside), bootstrap) for name, inside in there.items()}


def _against(baseline: Path, report: Path, bootstrap: Bootstrap) -> dict[str, Any]:
    found = compare(baseline, report, resamples=bootstrap.resamples, seed=bootstrap.seed).metrics
    names = ("n_paired", "n_scored", "difference", "gained", "lost", "harm_rate", "mcnemar_p")
    return {name: found[name] for name in names}


def adjust(runs: Sequence[dict[str, Any]]) -> None:
    """Add ``holm_p`` to differences to one baseline: their p-values adjusted for their number."""
    compared = [run["against_baseline"] for run in runs if run["against_baseline"]]
    for each, p in zip(compared, holm([each["mcnemar_p"] for each in compared]), strict=True):
        each["holm_p"] = p


def over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Mean and sample standard deviation of each figure over runs that differ in their seed; None of fewer than two."""
    if len(runs) < 2:
        return None
    known = {name: [run[name] for run in runs if run[name] is not None] for name in FIGURES}
    return {
        "seeds": [run["seed"] for run in runs],
        **{
            name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))} if len(values) > 1 else None
            for name, values in known.items()
        },
    }
