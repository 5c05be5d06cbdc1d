"""From the teacher's points to the head model: mean, components, triangles, symmetry.

    python shape.py faces_fer2013.npz faces_wild.npz --out head.npz

All meshes are turned into the head's frame and aligned by generalized Procrustes analysis on the points that expressions move
little; each counts twice, as it is and mirrored, so mean and components are symmetric.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist

from ferkit_mesh.head import OVAL, POINTS, Head

COMPONENTS = 48
MOUTH, CHIN = 13, 152  # inner upper lip, chin: what lies below the first moves with the jaw


def axes(points: np.ndarray) -> np.ndarray:
    """Rotation, head to camera, by outer corners of the eyes, forehead and chin."""
    right = points[263] - points[33]
    right /= np.linalg.norm(right)
    down = points[152] - points[10]
    down -= right * (down @ right)
    down /= np.linalg.norm(down)
    return np.stack([right, down, np.cross(right, down)], 1)


def head_of(all_points: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of :class:`ferkit_mesh.head.Head`."""
    upright = np.stack([p @ axes(p) for p in all_points])
    upright /= np.linalg.norm(upright[:, 263] - upright[:, 33], axis=1)[:, None, None]
    middle = (upright[:, 33] + upright[:, 263]) / 2
    upright -= middle[:, None]
    mean = np.median(upright, 0)
    flipped = mean * [-1, 1, 1]
    mirror = linear_sum_assignment(cdist(mean, flipped))[1]
    assert (mirror[mirror] == np.arange(POINTS)).all()
    moves = upright.std(0).mean(1)
    rigid = (np.median(moves) / np.maximum(moves, np.median(moves) / 4)) ** 2
    rigid[mean[:, 1] > mean[MOUTH, 1] - 0.05] *= 0.05  # jaw and mouth
    rigid = (rigid + rigid[mirror]) / 2
    for _ in range(4):
        mean = (mean + (mean * [-1, 1, 1])[mirror]) / 2
        mean = mean @ axes(mean)
        mean /= np.linalg.norm(mean[263] - mean[33])
        model = Head(mean, np.zeros((0, POINTS, 3)), np.zeros((0, 3)), mirror, rigid / rigid.max())
        aligned = []
        for points in all_points:
            rotation, shift, scale = model.rotation(points)
            aligned.append((points - shift) @ rotation / scale)
        mean = np.median(aligned, 0)
    both = np.concatenate([aligned, (np.array(aligned) * [-1, 1, 1])[:, mirror]])
    mean = both.mean(0)
    _, stretch, components = np.linalg.svd((both - mean).reshape(len(both), -1), full_matrices=False)
    share = (stretch**2).cumsum() / (stretch**2).sum()
    print(f"{COMPONENTS} components hold {share[COMPONENTS - 1]:.2%} of the variance")
    deviation = stretch[:COMPONENTS] / np.sqrt(len(both))
    basis = (components[:COMPONENTS] * deviation[:, None]).reshape(COMPONENTS, POINTS, 3)
    surface = Head(mean.astype(np.float32), basis, np.zeros((0, 3)), mirror, rigid).with_rings(mean.astype(np.float32))
    return {
        "mean": mean.astype(np.float32),
        "basis": basis.astype(np.float32),
        "triangles": Delaunay(surface[:, :2]).simplices.astype(np.int32),
        "mirror": mirror.astype(np.int64),
        "rigid": (rigid / rigid.max()).astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=2500, help="faces of each file")
    args = parser.parse_args()
    points = np.concatenate([np.load(path)["points"][: args.most].astype(np.float64) for path in args.faces])
    np.savez(args.out, **head_of(points))
    assert len(OVAL) == 36


if __name__ == "__main__":
    main()
