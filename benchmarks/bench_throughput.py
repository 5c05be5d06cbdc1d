"""Photos per second of the default recipe, and the pipeline's overhead over the same models called by hand.

    python benchmarks/bench_throughput.py [--photos 160] [--repeats 3]

The photos are 640-px JPEG files: crops of the pictures in examples/images, seeded, each with one or more faces.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

import ferkit
from ferkit.alignment import align_faces
from ferkit.encoding import encode
from ferkit.images import decode
from ferkit.types import FaceViews, ImageBatch

IMAGES = Path(__file__).parent.parent / "examples" / "images"
BATCH = 16


def photos(folder: Path, count: int) -> list[Path]:
    """640 x 480 JPEGs: half with one face (the astronaut), half cut from the group portrait."""
    chance = random.Random(0)
    astronaut, group = Image.open(IMAGES / "astronaut.jpg"), Image.open(IMAGES / "solvay_1927.jpg")
    paths = []
    for index in range(count):
        if index % 2:
            picture = astronaut.resize((640, 640)).crop((0, (top := chance.randrange(60)), 640, top + 480))
        else:
            left, top = chance.randrange(group.width - 640), chance.randrange(350, 560)
            picture = group.crop((left, top, left + 640, top + 480))
        paths.append(folder / f"{index:04}.jpg")
        picture.save(paths[-1], quality=92)
    return paths


@torch.inference_mode()
def by_hand(fer: ferkit.Pipeline, paths: list[Path]) -> int:
    """The same models in a loop, without the pipeline's checks, bookkeeping and results."""
    preparation, recognizer = fer._preparation, fer._recognizer
    faces_seen = 0
    for start in range(0, len(paths), BATCH):
        batch = ImageBatch(
            tuple(decode(path) for path in paths[start : start + BATCH]), ("",) * len(paths[start : start + BATCH])
        )
        faces = preparation._pose(batch, preparation._detector(batch))
        n = len(faces)
        views = FaceViews(
            align_faces(batch.images, faces, fer.recipe.framework.align),
            torch.arange(n),
            ("aligned",) * n,
            torch.zeros(n, dtype=torch.bool),
        )
        recognizer.head(encode(views, recognizer.encoders, {}, fer.device), faces).softmax(-1)
        faces_seen += n
    return faces_seen


def through_pipeline(fer: ferkit.Pipeline, paths: list[Path]) -> int:
    return sum(len(result) for result in fer.stream(paths, batch_size=BATCH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    fer = ferkit.pipeline()
    with tempfile.TemporaryDirectory() as folder:
        paths = photos(Path(folder), args.photos)
        through_pipeline(fer, paths[:BATCH])
        by_hand(fer, paths[:BATCH])
        seconds: dict[str, list[float]] = {"pipeline": [], "by hand": []}
        both = [("pipeline", through_pipeline), ("by hand", by_hand)]
        for _ in range(args.repeats):  # in turns, so that a busy machine disturbs both alike
            both.reverse()
            for name, function in both:
                started = time.perf_counter()
                faces = function(fer, paths)
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        best, median = args.photos / min(values), args.photos / statistics.median(values)
        print(f"{name:9}: {best:.1f} photos/s best, {median:.1f} median of {args.repeats}")
    pairs = [a / b - 1 for a, b in zip(*seconds.values(), strict=True)]
    best = min(seconds["pipeline"]) / min(seconds["by hand"]) - 1
    print(f"overhead : {statistics.median(pairs):+.1%} median of pairs, {best:+.1%} best against best")
    print(f"           {args.photos} photos, {faces} faces")


if __name__ == "__main__":
    main()
