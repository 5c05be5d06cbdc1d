"""Blend a table's labels with what `nano` makes of the pictures, as columns of votes.

    python soften.py faces/faces.csv --weights again.safetensors --out faces/soft.csv

So copies of a face turned away (`ferkit data pose-augment`) carry what the unturned face was taken for.
"""

import argparse
import csv
from pathlib import Path

from rich.progress import track

import ferkit
from ferkit.datasets.manifest import VOTES
from ferkit.writers import replacing, write_csv

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="with columns image and label, pictures cropped to the face")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="of `nano`, which answers")
    parser.add_argument("--share", type=float, default=0.5, help="of its answer; the rest is the label's")
    args = parser.parse_args()
    with args.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    own = {"encoders.nano.weights": str(args.weights), "encoders.nano.crops": [1.0]}
    answering = {"detector": {"use": "whole-image"}, "pose": None, **own}
    fer = ferkit.pipeline("default", answering)
    results = fer.stream((str(args.table.parent / row["image"]) for row in rows), batch_size=BATCH)
    for row, result in zip(rows, track(results, total=len(rows)), strict=True):
        answer = result[0].probabilities
        for label in fer.recipe.labels:
            vote = args.share * answer[label] + (1 - args.share) * (row["label"] == label)
            row[f"{VOTES}{label}"] = f"{vote:.4f}"
    with replacing(args.out) as path:
        write_csv(path, rows, list(rows[0]))


if __name__ == "__main__":
    main()
