"""Errors of `mesh` and of `landmark-pnp` on held-out people turned by known angles: synthetic-turn.

    python evaluate.py faces_fer2013.npz faces_wild.npz --head head.npz --n 60 --out metrics.json

Renderer A is the one that training uses, renderer B (``renderer_b.py``) was never trained on. Sources are faces of the test share
that the teacher puts within 15 degrees of frontal, one picture each and bin; pitch and roll are normal with 12 degrees. Boxes are
those of `retinaface`; where it finds none the face is missed for `landmark-pnp`, and `mesh` gets that of the true landmarks.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import renderer_b
import torch
from rich.console import Console
from rich.table import Table
from samples import Sources
from train import WEIGHTY, side

import ferkit
from ferkit.geometry import angles_to_rotation, rotation_to_angles
from ferkit.interfaces import Context
from ferkit.labels import SEVEN
from ferkit.types import Faces, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_mesh import MeshConfig
from ferkit_mesh.head import Head
from ferkit_mesh.pose import Mesh
from ferkit_mesh.turning import Camera, turn

BINS = ((0, 15), (15, 30), (30, 45), (45, 60), (60, 75), (75, 90))
SIZE, EYES = 192, 40  # of the pictures, and of the heads in them, pixels between the eyes
FAILED = 0.15  # NME from which landmarks count as failed


def near_frontal(sources: Sources) -> list[int]:
    """Sources within 15 degrees of frontal."""
    kept = []
    for index, points in enumerate(sources.points):
        angles = rotation_to_angles(torch.from_numpy(sources.head.rotation(points)[0]))
        if angles[:2].abs().max() < 15 and angles[2].abs() < 30:
            kept.append(index)
    return kept


def scene(rng: np.random.Generator, folder: Path) -> np.ndarray:
    """A background: the corner of a photograph, out of focus."""
    paths = sorted(folder.glob("*"))
    image = cv2.imread(str(paths[int(rng.integers(len(paths)))]), 0)
    corner = min(image.shape) // 3
    return cv2.blur(cv2.resize(image[:corner, :corner], (SIZE, SIZE)), (5, 5))


def picture(
    kind: str, sources: Sources, index: int, angles: np.ndarray, rng: np.random.Generator, behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One turned face, uint8 ``[SIZE, SIZE]``, and its landmarks ``[468, 2]``."""
    crop, points = sources.crops[index], sources.points[index]
    old, _, scale = sources.head.rotation(points)
    rotation = angles_to_rotation(torch.from_numpy(angles).float()).numpy()
    if kind == "A":
        middle = (points[33] + points[263]) / 2
        target = (points - middle) @ old @ rotation.T
        linear = EYES * 1.5 / scale
        shift = SIZE / 2 - linear * (target[:, :2].min(0) + target[:, :2].max(0)) / 2
        turned = turn(crop, points, sources.head, Camera(rotation, linear, shift.astype(np.float32)), SIZE)
        image, covered, marks = turned.picture, turned.covered, turned.points[:, :2]
    else:
        lamp = np.array([*rng.uniform(-0.8, 0.8, 2), -1])
        image, covered, marks = renderer_b.turn(crop, points, old, rotation, EYES, SIZE, lamp)
        marks = marks[:, :2]
    alpha = cv2.blur(covered.astype(np.float32), (3, 3)) * covered
    return (image * alpha + behind * (1 - alpha)).astype(np.uint8), marks


def errors(found: torch.Tensor, truth: np.ndarray) -> np.ndarray:
    """Absolute differences of angles ``[N, 3]``."""
    return (found.double().numpy() - truth + 180) % 360 - 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of photographs for backgrounds")
    parser.add_argument("--n", type=int, default=60, help="faces a bin")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})
    sources = Sources.read(args.faces, head, lambda subject: side(subject) == "test")
    usable = near_frontal(sources)
    finder = ferkit.pipeline("default", {"detector.threads": 1, "on_no_face": "skip", "pose": {"use": "landmark-pnp"}})
    dense = Mesh(MeshConfig(min_score=0), Context(torch.device("cpu"), torch.float32, 0, SEVEN, WeightsStore()))
    rows = []
    for kind in "AB":
        rng = np.random.default_rng(7)
        for low, high in BINS:
            chosen = rng.choice(usable, min(args.n, len(usable)), replace=False)
            truth = np.column_stack(
                [
                    rng.uniform(low, high, len(chosen)) * rng.choice([-1, 1], len(chosen)),
                    *rng.normal(0, 12, (2, len(chosen))),
                ]
            )
            made = [
                picture(kind, sources, int(i), a, rng, scene(rng, args.scenes))
                for i, a in zip(chosen, truth, strict=True)
            ]
            batch = ImageBatch(
                tuple(torch.from_numpy(image).expand(3, -1, -1).contiguous() for image, _ in made), ("",) * len(made)
            )
            marks = torch.from_numpy(np.stack([m for _, m in made])).float()
            found = finder.faces(batch)
            boxes = torch.cat([marks.amin(1), marks.amax(1)], 1)
            known = torch.zeros(len(made), dtype=torch.bool)
            pnp = torch.full((len(made), 3), torch.nan)
            for face in range(len(found) - 1, -1, -1):  # the largest last
                owner = int(found.image_index[face])
                known[owner], boxes[owner], pnp[owner] = True, found.boxes[face], found.pose[face]
            with torch.inference_mode():
                faces = dense(batch, Faces.of(torch.arange(len(made)), boxes))
            off = np.abs(errors(faces.pose, truth))
            inner = list(WEIGHTY)
            extent = (marks.amax(1) - marks.amin(1)).amax(1)
            distance = torch.linalg.vector_norm(faces.landmarks["mesh"][:, inner, :2] - marks[:, inner], dim=2).mean(1)
            nme = (distance / extent).numpy()
            seen = known.numpy()
            rival = np.abs(errors(pnp, truth))[seen]
            rows.append(
                {
                    "renderer": kind,
                    "yaw": f"{low}-{high}",
                    "n": len(made),
                    "mesh": off.mean(0).round(2).tolist(),
                    "mesh_yaw_median": round(float(np.median(off[:, 0])), 2),
                    "nme": round(float(nme.mean()) * 100, 2),
                    "failed": int((nme > FAILED).sum()),
                    "score": round(float(faces.pose_score.mean()), 3),
                    "found": int(seen.sum()),
                    "mesh_where_found": off[seen].mean(0).round(2).tolist() if seen.any() else None,
                    "landmark_pnp": np.nanmean(rival, 0).round(2).tolist() if seen.any() else None,
                }
            )
            print(rows[-1], flush=True)
    args.out.write_text(json.dumps(rows, indent=1))
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
