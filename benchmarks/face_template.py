"""Measures `ferkit.geometry.FACE_TEMPLATE`: where RetinaFace marks an upright frontal face within its squared box.

python benchmarks/face_template.py FOLDER [--n 1500]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from wild_faces import choose, detections

from ferkit.generic_head import FIVE
from ferkit.head_pose import fit_head

NEAR_FRONTAL = 10.0  # degrees of yaw and roll from 0, of pitch from its median: people look slightly down into cameras
MIRROR = [1, 0, 2, 4, 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1500, help="photographs")
    arguments = parser.parse_args()
    seen = [found for _, _, found in detections(choose(arguments.folder, arguments.n))]
    boxes, points = np.stack([found.box for found in seen]), np.stack([found.points for found in seen])
    angles, _ = fit_head(torch.from_numpy(points), torch.tensor(FIVE, dtype=torch.float64))
    median_pitch = float(angles[:, 1].nanmedian())
    frontal = ((angles - torch.tensor([0, median_pitch, 0])).abs() < NEAR_FRONTAL).all(1).numpy()
    boxes, points = boxes[frontal], points[frontal]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(1)
    unit = 0.5 + (points - centre[:, None]) / side[:, None, None]
    mean = unit.mean(0)
    print(f"{len(unit)} near-frontal of {len(seen)} faces found in {arguments.n} photographs; pitch {median_pitch:.1f}")
    print("mean", mean.round(3).tolist(), "\nstandard deviation", unit.std(0).round(3).tolist())
    mirrored = mean[MIRROR] * [-1, 1] + [1, 0]
    print("symmetric", ((mean + mirrored) / 2).round(3).tolist())


if __name__ == "__main__":
    main()
