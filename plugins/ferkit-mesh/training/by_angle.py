"""Accuracy by the exact |yaw| of posed faces, and what turning them back won: the tables of faces turned away.

python by_angle.py plain=A-plain augmentation=A-default frontalizer=A-frontalizer both=A-frontal

Each report is one of ``ferkit evaluate`` on the same manifest. 95 % intervals by 10,000 bootstrap resamples of the faces
(``group``), each with all its angles. Won back: of what the first report loses from 0 degrees, what another has less of it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

RESAMPLES = 10_000


def right(report: Path) -> pd.DataFrame:
    """Share of right answers, a row a face, a column an |yaw|; counts a face that was not found as wrong."""
    rows = pd.read_parquet(report / "predictions.parquet")
    rows["right"] = (rows["label"] == rows["true_label"]) & (rows["status"] == "scored")
    return rows.groupby(["group", rows["yaw"].abs().round()])["right"].mean().unstack()


def told(value: float, draws: np.ndarray, unit: str = "") -> str:
    """A figure in per cent with its interval."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return f"{100 * value:.1f}{unit} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "reports", nargs="+", metavar="NAME=REPORT", help="the first is what the others are compared with"
    )
    args = parser.parse_args()
    tables = {name: right(Path(path)) for name, path in (report.split("=", 1) for report in args.reports)}
    first = next(iter(tables.values()))
    chosen = np.random.default_rng(0).integers(len(first), size=(RESAMPLES, len(first)))
    draws = {name: table.reindex(first.index).to_numpy()[chosen].mean(1) for name, table in tables.items()}
    means, drawn = first.mean(), next(iter(draws.values()))
    for name, table in tables.items():
        for place, yaw in enumerate(first):
            line = f"{name} {yaw:g}: {told(table[yaw].mean(), draws[name][:, place])}"
            if table is not first:
                gain = draws[name][:, place] - drawn[:, place]
                line += f"; gain {told(table[yaw].mean() - means[yaw], gain)}"
            if table is not first and yaw and (lost := drawn[:, 0] - drawn[:, place]).min() > 0:
                line += (
                    f"; won back {told((table[yaw].mean() - means[yaw]) / (means[0] - means[yaw]), gain / lost, ' %')}"
                )
            print(line)


if __name__ == "__main__":
    main()
