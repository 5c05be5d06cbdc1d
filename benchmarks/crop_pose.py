"""Share of face crops whose pose is found, by the border and the size that they get first.

python benchmarks/crop_pose.py --data fer2013:DATA/fer2013 [--split train] [--n 400] [--recipe default]
"""

import argparse
import random

import torch

import ferkit
from ferkit import crop_pose
from ferkit.datasets import build_dataset
from ferkit.images import decode
from ferkit.recipe import load_data

VARIANTS = ((0.0, 0), (0.25, 0), (0.5, 0), (0.1, 160), (0.25, 160))  # border; least side in pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--recipe", default="default")
    given = parser.parse_args()
    samples = list(build_dataset(load_data(given.data)).samples(given.split))
    chosen = random.Random(0).sample(samples, min(given.n, len(samples)))
    crops = [decode(sample.picture) for sample in chosen]
    fer = ferkit.pipeline(given.recipe)
    for crop_pose.BORDER, crop_pose.SIDE in VARIANTS:
        poses = torch.cat([crop_pose.crop_pose(crops[i : i + 32], fer.faces)[0] for i in range(0, len(crops), 32)])
        known = torch.isfinite(poses[:, 0]).float().mean()
        print(f"border {crop_pose.BORDER:.2f}, at least {crop_pose.SIDE:3} px: {known:.1%} of {len(crops)}")


if __name__ == "__main__":
    main()
