"""Accuracy by the exact |yaw| of posed faces, and what turning them back won: the tables of faces turned away.

python by_angle.py plain=A-plain augmentation=A-default frontalizer=A-frontalizer both=A-frontal

Each report is one of ``ferkit evaluate`` on the same manifest. 95 % intervals by 10,000 bootstrap resamples of the faces
(``group``), each with all its angles. Beside the first report: pictures gained and lost, and won back, which is of what the first
loses from 0 degrees what another has less of it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

RESAMPLES = 10_000


def right(report: Path) -> pd.DataFrame:
    """Which pictures are right, by id, with their group and |yaw|; a face that was not found is wrong."""
    rows = pd.read_parquet(report / "predictions.parquet").set_index("id")
    rows["right"] = (rows["label"] == rows["true_label"]) & (rows["status"] == "scored")
    rows["yaw"] = rows["yaw"].abs().round()
    return rows[["group", "yaw", "right"]]


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of right answers, a row a face, a column an |yaw|."""
    return rows.groupby(["group", "yaw"])["right"].mean().unstack()


def changed(first: pd.DataFrame, other: pd.DataFrame, yaw: float) -> tuple[int, int]:
    """How many pictures of an |yaw| only the other, and only the first, gets right."""
    before, after = (rows.loc[first.index[first["yaw"] == yaw], "right"] for rows in (first, other))
    return int((after & ~before).sum()), int((before & ~after).sum())


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
    answers = {name: right(Path(path)) for name, path in (report.split("=", 1) for report in args.reports)}
    tables = {name: shares(rows) for name, rows in answers.items()}
    beside, first = next(iter(answers.values())), next(iter(tables.values()))
    chosen = np.random.default_rng(0).integers(len(first), size=(RESAMPLES, len(first)))
    draws = {name: table.reindex(first.index).to_numpy()[chosen].mean(1) for name, table in tables.items()}
    means, drawn = first.mean(), next(iter(draws.values()))
    for name, table in tables.items():
        for place, yaw in enumerate(first):
            line = f"{name} {yaw:g}: {told(table[yaw].mean(), draws[name][:, place])}"
            if yaw:
                line += (
                    f"; loses {told(table[0].mean() - table[yaw].mean(), draws[name][:, 0] - draws[name][:, place])}"
                )
            if table is not first:
                gain = draws[name][:, place] - drawn[:, place]
                more, less = changed(beside, answers[name], yaw)
                line += f"; gain {told(table[yaw].mean() - means[yaw], gain)}: {more} gained, {less} lost"
            if table is not first and yaw and (lost := drawn[:, 0] - drawn[:, place]).min() > 0:
                line += (
                    f"; won back {told((table[yaw].mean() - means[yaw]) / (means[0] - means[yaw]), gain / lost, ' %')}"
                )
            print(line)


if __name__ == "__main__":
    main()
