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
from ferkit.head_pose import pose_from_landmarks
from ferkit.images import decode
from ferkit.interfaces import Context
from ferkit.labels import SEVEN
from ferkit.recipe_model import Align
from ferkit.types import Faces, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_mesh import MeshConfig
from ferkit_mesh.pose import Mesh

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
    context = Context(torch.device("cpu"), torch.float32, 0, SEVEN, WeightsStore())
    mesh = Mesh(MeshConfig(), context)
    normalizer = {"use": "mesh-frontal", "above_yaw": 0, "no_pose": "turn"}
    fer = ferkit.pipeline("default", {"pose": {"use": "mesh"}, "normalizer": normalizer, "align": {"size": VIEW}})
    views: dict[str, list] = {}
    poses: dict[str, list] = {}
    table = np.load(args.boxes)
    paths, boxes, five = table["path"].tolist(), torch.from_numpy(table["box"]), torch.from_numpy(table["five"])
    rivals, _ = pose_from_landmarks(five, "5")
    for index in track(np.random.default_rng(0).permutation(len(paths)).tolist()):
        if (label := labels[Path(paths[index]).name]) == "contempt":
            continue
        batch = ImageBatch((decode(Path(paths[index])),), (paths[index],))
        with torch.inference_mode():
            face = mesh(batch, Faces.of([0], boxes[index : index + 1], landmarks={"5": five[index : index + 1]}))
        yaw = float(face.pose[0, 0].abs())
        name = next((f"{low}-{high}" for low, high in BINS if low <= yaw < high), "unknown")
        if len(poses.get(name, [])) == ENOUGH:
            continue
        poses.setdefault(name, []).append([*face.pose[0].tolist(), *rivals[index].tolist()])
        if name == "unknown":
            continue
        turned = align_faces(batch.images, face, Align(size=VIEW))[0]
        frontal = fer.views(batch, face)[0].pixels[0]
        for kind, view in (("turned", turned), ("frontal", frontal)):
            views.setdefault(f"wild {name} {kind}", []).append(view.mean(0).mul(255).round().byte().numpy())
        views.setdefault(f"wild {name} label", []).append(label)
    for name, values in sorted(poses.items()):
        both = np.array(values, float)
        apart = np.abs(both[:, :3] - both[:, 3:6])
        print(name, "n =", len(both), "median difference of yaw, pitch, roll:", np.nanmedian(apart, 0).round(1))
    np.savez(args.out, **{name: np.array(column) for name, column in views.items()})


if __name__ == "__main__":
    main()
