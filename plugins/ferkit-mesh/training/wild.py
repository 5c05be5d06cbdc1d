"""Real faces turned away: what `mesh` and `landmark-pnp` say of them, and their views before and after `mesh-frontal`.

    python wild.py boxes.npz --labels DATA/wild_expressions/manifest.csv --out wild_views.npz

Nobody measured these poses, so the two estimators are only compared with each other. The views go to ``peer.py``.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

import ferkit
from ferkit.alignment import align_faces
from ferkit.images import decode
from ferkit.recipe_model import Align
from ferkit.types import ImageBatch

VIEW = 96
BINS = ((0, 15), (15, 30), (30, 45), (45, 90))
ENOUGH = 400  # faces of a bin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with args.labels.open(newline="") as file:
        labels = {row["image"]: row["label"] for row in csv.DictReader(file)}
    base = {"detector.threads": 1, "align": {"size": VIEW}}
    normalizer = {"use": "mesh-frontal", "above_yaw": 0}
    dense = ferkit.pipeline("default", {**base, "pose": {"use": "mesh"}, "normalizer": normalizer})
    sparse = ferkit.pipeline("default", base)
    views: dict[str, list] = {}
    poses: dict[str, list] = {}
    with np.load(args.boxes) as table:
        paths = table["path"].tolist()
    for path in track([paths[i] for i in np.random.default_rng(0).permutation(len(paths))]):
        if (label := labels[Path(path).name]) == "contempt":
            continue
        batch = ImageBatch((decode(path),), (path,))
        one = sparse.faces(batch)
        two = dense.faces(batch)
        pose, rival = two.pose[0], one.pose[0]
        yaw = float(pose[0].abs())
        name = next((f"{low}-{high}" for low, high in BINS if low <= yaw < high), "unknown")
        if len(poses.get(name, [])) == ENOUGH:
            continue
        poses.setdefault(name, []).append([*pose.tolist(), *rival.tolist(), float(two.pose_score[0])])
        if name == "unknown":
            continue
        face = two.select(torch.tensor([0]))
        turned = align_faces(batch.images, face, Align(size=VIEW))[0]
        frontal = dense.views(batch, face)[0].pixels[0]
        for kind, view in (("turned", turned), ("frontal", frontal)):
            views.setdefault(f"wild {name} {kind}", []).append(view.mean(0).mul(255).round().byte().numpy())
        views.setdefault(f"wild {name} label", []).append(label)
    for name, values in sorted(poses.items()):
        both = np.array(values)
        apart = np.abs(both[:, :3] - both[:, 3:6])
        print(name, "n =", len(both), "median difference of yaw, pitch, roll:", np.nanmedian(apart, 0).round(1))
    np.savez(args.out, **{name: np.array(column) for name, column in views.items()})


if __name__ == "__main__":
    main()
