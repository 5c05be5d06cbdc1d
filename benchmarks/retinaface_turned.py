"""Share of pictures in which `retinaface` finds a face, with its second look and without: of faces by |yaw|, and of none.

ferkit data pose-augment … --out posed
python benchmarks/retinaface_turned.py --data manifest:posed/manifest.csv [--n 200] [--none FOLDER]

Each picture of the data, cropped to a face, is given as it is and in the middle of one three times as large, whose border repeats
its edge. From `--none`, a folder of photographs of one face each, the upper left corners are taken, a quarter of the shorter side
wide.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import ferkit
from ferkit.datasets import build_dataset
from ferkit.images import IMAGE_SUFFIXES, decode
from ferkit.recipe import load_data

CORNER = 256  # pixels to which a corner is brought
MOST = 800  # corners
LOOKS = (False, True)


def bordered(image: Tensor) -> Tensor:
    """A picture in the middle of one three times as large."""
    height, width = image.shape[1:]
    return F.pad(image[None].float(), (width, width, height, height), mode="replicate")[0].to(torch.uint8)


def corner(image: Tensor) -> Tensor:
    """The upper left corner of a photograph."""
    side = max(min(image.shape[1:]) // 4, 1)
    part = image[None, :, :side, :side].float()
    return F.interpolate(part, size=(CORNER, CORNER), mode="bilinear", antialias=True)[0].round().to(torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="pictures cropped to a face, of known yaw")
    parser.add_argument("--n", type=int, default=200, help="pictures an angle, of any sign")
    parser.add_argument("--none", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    finders = [ferkit.pipeline("default", {"pose": None, "detector.second_look": look}) for look in LOOKS]

    def report(name: str, pictures: list[Tensor]) -> None:
        found = [sum(p.images[0].n_faces > 0 for p in fer.stream(pictures, batch_size=16)) for fer in finders]
        shares = ", ".join(
            f"{'with' if look else 'without'} {n / len(pictures):.1%}" for look, n in zip(LOOKS, found, strict=True)
        )
        print(f"{name}, n {len(pictures)}: {shares}", flush=True)

    by_yaw = defaultdict(list)
    dataset = build_dataset(load_data(given.data))
    for split in dataset.splits:
        for sample in dataset.samples(split):
            if sample.pose:
                by_yaw[round(abs(sample.pose[0]))].append(sample)
    draw = random.Random(0)
    frames: dict[str, Callable[[Tensor], Tensor]] = {"as it is": lambda image: image, "in a border": bordered}
    for yaw, samples in sorted(by_yaw.items()):
        chosen = [decode(sample.picture) for sample in draw.sample(samples, min(given.n, len(samples)))]
        for name, framed in frames.items():
            report(f"{yaw} degrees, {name}", [framed(image) for image in chosen])
    if given.none:
        paths = [path for path in sorted(given.none.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
        report("corners", [corner(decode(path)) for path in draw.sample(paths, min(MOST, len(paths)))])


if __name__ == "__main__":
    main()
