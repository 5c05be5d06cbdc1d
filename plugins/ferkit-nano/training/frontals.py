"""Frontal views of the turned faces in a table, rendered and real, as further rows: what `mesh-frontal` shows the encoder.

python frontals.py faces/turned/manifest.csv --out faces/frontal

Rows keep the labels, votes and group of the turned face; their pose is unknown. A picture is named by what decides it: the same
command goes on where it was stopped, and another one takes none that would differ.
"""

import argparse
import csv
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track

from ferkit.cache import Cache, digest
from ferkit.datasets import open_dataset
from ferkit.evaluation.locating import decoded, locate
from ferkit.interfaces import Context, Sample
from ferkit.journal import mark
from ferkit.preparation import Preparation, view_digest
from ferkit.recipe import load_recipe
from ferkit.weights import WeightsStore
from ferkit.writers import replacing, write_csv

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="as ferkit data pose-augment writes it, pictures cropped to the face")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--above-yaw", type=float, default=35.0)
    parser.add_argument("--every", type=int, default=1, help="take each n-th turned face only")
    args = parser.parse_args()
    recipe = load_recipe("frontal", {"normalizer.above_yaw": args.above_yaw, "normalizer.cache": False})
    context = Context(torch.device("cpu"), torch.float32, 0, recipe.labels, WeightsStore(False))
    preparation = Preparation(recipe, context, Cache())
    made_by = [view_digest(recipe, context), preparation.normalizer_version]
    with args.table.open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    dataset = open_dataset("manifest", path=str(args.table), crops=True)
    every = [sample for split in dataset.splits for sample in dataset.samples(split)]
    copied = {name.rsplit("@", 1)[0] for name in rows if "@" in name}
    turned = [sample for sample in every if sample.pose and abs(sample.pose[0]) > args.above_yaw]
    # Real faces without copies were turned away already, or their mesh is not known.
    samples = turned[:: args.every] + [sample for sample in every if "@" not in sample.id and sample.id not in copied]
    (args.out / "images").mkdir(parents=True, exist_ok=True)
    table = []
    for start in track(range(0, len(samples), BATCH)):
        part = samples[start : start + BATCH]
        paths = {args.out / "images" / _name(sample, made_by): sample for sample in part}
        if missing := {path: sample for path, sample in paths.items() if not path.exists()}:
            _draw(preparation, list(missing.values()), list(missing))
        for path, sample in paths.items():
            if path.exists():
                here = {"id": f"{sample.id}#frontal", "image": str(path.relative_to(args.out))}
                table.append(rows[sample.id] | here | {"yaw": "", "pitch": "", "roll": ""})
    with replacing(args.out / "manifest.csv") as path:
        write_csv(path, table, list(table[0]))


def _name(sample: Sample, made_by: list) -> str:
    """Of a picture, by all that decides it."""
    return f"{digest([made_by, sample.id, sample.source, mark(sample.source), sample.box, sample.pose])[:16]}.png"


@torch.inference_mode()
def _draw(preparation: Preparation, samples: list[Sample], paths: list[Path]) -> None:
    """The frontal view of each face whose mesh is found, as the encoder would get it."""
    pictures, _ = decoded(samples)
    located = locate(samples, pictures, preparation, True)
    _, outcomes = preparation.outcomes(located.batch, located.faces)
    for outcome, path in zip(outcomes, paths, strict=True):
        if outcome.view is not None:
            pixels = outcome.view.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
            with replacing(path) as temporary:
                Image.fromarray(pixels).save(temporary, "PNG")


if __name__ == "__main__":
    main()
