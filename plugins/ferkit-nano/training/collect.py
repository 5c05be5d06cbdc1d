"""Put the two archives side by side as one table of crops: what ``nano.yaml`` is trained on.

    python collect.py --fer2013 DATA/fer2013 --wild DATA/wild_expressions --out faces

Of FER2013 it takes the training set, identical pictures in one group, 5 % of it for the choice of the epoch. Of the wild
photographs it takes the faces that the recipe ``default`` finds, aligned as that recipe aligns them; 15 % of the subjects are
held out, half for the choice of the epoch and half to report on; of the rest at most 2,000 faces a class are learnt from.
``wild.csv`` beside it lists the photographs themselves with their side, for ``ferkit evaluate``; it comes first.
"""

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

import ferkit
from ferkit.datasets import open_dataset
from ferkit.datasets.split import hold_out
from ferkit.images import decode
from ferkit.types import ImageBatch

Row = tuple[str, str, str, str, str, str]  # id, image, label, subject, group, split
MOST = 2000  # wild faces of one class


def fer2013(root: Path) -> Iterator[Row]:
    """Training pictures, 5 % of their groups held out."""
    samples = list(open_dataset("fer2013", path=str(root)).samples("train"))
    _, held = hold_out(samples, 0.05, seed=0)
    chosen = {sample.id for sample in held}
    for sample in samples:
        split = "validation" if sample.id in chosen else "train"
        yield (
            f"fer2013/{sample.id}",
            str(Path(sample.source).absolute()),
            str(sample.label),
            "",
            str(sample.group),
            split,
        )


def side(subject: str) -> str:
    """Where a subject belongs; by hash, so that nothing else decides it."""
    share = int(hashlib.sha256(subject.encode()).hexdigest()[:8], 16) / 16**8
    return "train" if share < 0.85 else "validation" if share < 0.925 else "test"


def photographs(root: Path, labels: tuple[str, ...]) -> list[dict[str, str]]:
    """The wild photographs that show one of ``labels``."""
    with (root / "manifest.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["label"] in labels]


def wild(root: Path, out: Path, labels: tuple[str, ...]) -> Iterator[Row]:
    """Aligned faces of the wild photographs, written to ``out``."""
    fer = ferkit.pipeline("default", {"align.size": 112})
    rows = photographs(root, labels)
    order = np.random.default_rng(0).permutation(len(rows))
    taken: Counter[str] = Counter()
    for index in track(order.tolist(), "wild faces"):
        row = rows[index]
        split = side(row["subject"])
        if split == "test" or (split == "train" and taken[row["label"]] == MOST):
            continue
        picture = root / "images" / row["image"]
        batch = ImageBatch((decode(picture),), (str(picture),))
        faces = fer.faces(batch)
        if not len(faces):
            continue
        pixels = fer.views(batch, faces)[0].pixels[0]
        path = out / "wild" / f"{Path(row['image']).stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.mul(255).round().byte().permute(1, 2, 0).numpy()).convert("L").save(path)
        taken[row["label"]] += split == "train"
        yield f"wild/{path.stem}", str(path.absolute()), row["label"], row["subject"], "", split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    labels = ferkit.load_recipe("default").labels
    with (args.out / "wild.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "image", "label", "subject", "split"))
        for row in photographs(args.wild, labels):
            path = (args.wild / "images" / row["image"]).absolute()
            table.writerow((row["image"], path, row["label"], row["subject"], side(row["subject"])))
    with (args.out / "faces.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "image", "label", "subject", "group", "split"))
        table.writerows(fer2013(args.fer2013))
        table.writerows(wild(args.wild, args.out, labels))


if __name__ == "__main__":
    main()
