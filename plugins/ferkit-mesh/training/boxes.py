"""Box and five landmarks of the largest face in each wild photograph, by `retinaface`: ``teacher.py wild`` starts from them.

python boxes.py --root DATA/wild_expressions --out boxes.npz
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

import ferkit
from ferkit.images import decode
from ferkit.types import ImageBatch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    fer = ferkit.pipeline("default", {"pose": None, "detector.threads": 1})
    columns: dict[str, list] = {"path": [], "subject": [], "box": [], "five": []}
    with (args.root / "manifest.csv").open(newline="") as file:
        for row in track(list(csv.DictReader(file))):
            path = args.root / "images" / row["image"]
            faces = fer.faces(ImageBatch((decode(path),), (str(path),)))
            if len(faces):
                values = (str(path), row["subject"], faces.boxes[0].numpy(), faces.landmarks["5"][0].numpy())
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    np.savez(args.out, **{name: np.array(column) for name, column in columns.items()})


if __name__ == "__main__":
    main()
