"""Aligned faces per second of the embedded encoder with its head: views in, probabilities out.

    python benchmarks/bench_encoder.py [--quick] [--threads 2] [--repeats 20]

The views are the faces of examples/images as the recipe `default` aligns them, again and again.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import ferkit
from ferkit.images import decode
from ferkit.types import ALIGNED, Faces, FaceViews

IMAGES = Path(__file__).parent.parent / "examples" / "images"
FACES = 256


def aligned(fer: ferkit.Pipeline, count: int) -> tuple[FaceViews, Faces]:
    """``count`` faces of the example pictures, and their aligned views."""
    paths = sorted(IMAGES.glob("*.jpg"))
    batch = ferkit.ImageBatch(tuple(decode(path) for path in paths), tuple(map(str, paths)))
    found = fer.faces(batch)
    index = torch.arange(count) % len(found)
    pixels = fer.views(batch, found)[0].pixels[index]
    views = FaceViews(pixels, torch.arange(count), (ALIGNED,) * count, torch.zeros(count, dtype=torch.bool))
    return views, found.select(index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three repeats, to see that it runs")
    args = parser.parse_args()
    repeats = 3 if args.quick else args.repeats
    torch.set_num_threads(args.threads)
    console = Console()
    table = Table("recipe", "median", "best", title="Aligned faces a second", title_justify="left")
    variants: dict[str, dict[str, object]] = {
        "default": {},
        "default, whole views alone": {"encoders.nano.crops": [1.0]},
        "the same, without mirror images": {"encoders.nano.crops": [1.0], "encoders.nano.mirror": False},
    }
    for name, overrides in variants.items():
        fer = ferkit.pipeline("default", overrides)
        views, faces = aligned(fer, FACES)
        seconds = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            fer.probabilities(fer.features(views), faces)
            seconds.append(time.perf_counter() - started)
        median, best = statistics.median(seconds[1:]), min(seconds[1:])
        table.add_row(name, f"{FACES / median:.0f} faces/s", f"{FACES / best:.0f} faces/s")
    size = views.pixels.shape[-1]
    console.print(
        f"{FACES} views of {size} px at once, {repeats} repeats; {args.threads} threads, torch {torch.__version__}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
