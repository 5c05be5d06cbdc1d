"""How far `mesh` and `landmark-pnp` are from WHENet on real faces turned away, of people held out of training.

python by_whenet.py turned_posed.npz
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from train import side

from ferkit.geometry import rotation_to_angles
from ferkit.interfaces import Context
from ferkit.labels import SEVEN
from ferkit.types import Faces, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_mesh import MeshConfig
from ferkit_mesh.pose import Mesh

BINS = (0, 20, 30, 40, 50, 60, 91)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turned", type=Path, help="of whenet.py")
    parser.add_argument("--weights", help="of another round of `mesh`")
    args = parser.parse_args()
    with np.load(args.turned) as table:
        held = np.array([side(subject) != "train" for subject in table["subject"].tolist()])
        crops, boxes, rotations, pnp = (table[name][held] for name in ("crop", "box", "rotation", "yaw"))
    images = tuple(torch.from_numpy(crop).expand(3, -1, -1).contiguous() for crop in crops)
    config = MeshConfig(min_score=0, **({"weights": args.weights} if args.weights else {}))
    mesh = Mesh(config, Context(torch.device("cpu"), torch.float32, 0, SEVEN, WeightsStore()))
    with torch.inference_mode():
        faces = mesh(
            ImageBatch(images, ("",) * len(images)), Faces.of(torch.arange(len(images)), torch.from_numpy(boxes))
        )
    known = faces.pose[:, 0].isfinite().numpy()
    print(f"{len(known)} faces, {(~known).sum()} without a pose")
    truth = rotation_to_angles(torch.from_numpy(rotations))[:, 0].numpy()
    for low, high in pairwise(BINS):
        part = known & (np.abs(truth) >= low) & (np.abs(truth) < high)
        told = []
        for name, yaw in (("mesh", faces.pose[:, 0].numpy()), ("landmark-pnp", pnp)):
            more = ((yaw - truth) * np.sign(truth))[part]
            told.append(f"{name} {np.abs(more).mean():.1f} ({more.mean():+.1f})")
        print(f"{low}-{high}: n = {part.sum()}, yaw off by {', '.join(told)}")


if __name__ == "__main__":
    main()
