"""Resident memory while thousands of pictures of varied sizes stream through the default recipe.

python benchmarks/bench_memory.py [--images 5000] [--normalize]

With --normalize faces are turned by `resample`, its results kept in a cache of its own, and no expression is told.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil

import ferkit
from ferkit.images import decode

IMAGES = Path(__file__).parent.parent / "examples" / "images"
WARM = 500


def pictures(count: int) -> Iterator[np.ndarray]:
    """Random cuts of the group portrait, 64 to 480 pixels a side."""
    group = decode(IMAGES / "solvay_1927.jpg").permute(1, 2, 0).numpy()
    chance = random.Random(0)
    for _ in range(count):
        wide, high = chance.randrange(64, 480), chance.randrange(64, 480)
        left, top = chance.randrange(group.shape[1] - wide), chance.randrange(group.shape[0] - high)
        yield group[top : top + high, left : left + wide]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--normalize", action="store_true")
    options = parser.parse_args()
    if options.normalize:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FERKIT_CACHE"] = folder
            turning = {"use": "resample", "above_yaw": 10, "cache": True}
            fer = ferkit.pipeline("default", {"normalizer": turning})
            watch(len(result.faces) for result in fer.normalize(pictures(options.images)))
    else:
        watch(map(len, ferkit.pipeline().stream(pictures(options.images))))


def watch(results: Iterable[int]) -> None:
    """Print the resident memory as results, numbers of faces, come."""
    process = psutil.Process()
    resident, warm, most, faces = 0.0, 0.0, 0.0, 0
    for index, found in enumerate(results, 1):
        faces += found
        resident = process.memory_info().rss / 2**20
        if index == WARM:
            warm = resident
        most = max(most, resident) if index >= WARM else 0.0
        if index % 500 == 0:
            print(f"{index:5} images, {faces:5} faces: {resident:.0f} MiB", flush=True)
    print(f"after {WARM}: {warm:.0f} MiB; at the end {resident - warm:+.0f} MiB, at most {most - warm:+.0f} MiB")


if __name__ == "__main__":
    main()
