"""What turning back is worth to a recognizer that never saw turned faces: FER2013 PublicTest, synthetic-turn.

    python worth.py faces_public.npz --head head.npz --n 400 --out worth.npz
    python worth.py --judge worth.npz                                  # accuracy of nano
    TENSORFLOW/bin/python peer.py worth.npz --model emotion_model.hdf5   # accuracy of the network inside `fer`

Every face is turned by both renderers to each yaw, framed as FER2013 frames it, and stored as it is (``turned``), as the recipe
with `mesh` and `mesh-frontal` gives it (``frontal``), and turned back with the true landmarks (``exact``).
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import renderer_b
import torch
from evaluate import near_frontal
from rich.progress import track
from samples import Sources

import ferkit
from ferkit.alignment import align_faces
from ferkit.geometry import angles_to_rotation, to_five
from ferkit.recipe_model import Align
from ferkit.types import Faces, ImageBatch
from ferkit_mesh import FrontalConfig
from ferkit_mesh.frontal import frontalize
from ferkit_mesh.head import Head
from ferkit_mesh.turning import Camera, turn

YAWS = (0, -45, 45, -60, 60, -75, 75)
SIZE, VIEW = 112, 96
NAMES = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
RECIPE = {
    "detector": {"use": "whole-image"},
    "pose": {"use": "mesh", "min_score": 0},
    "normalizer": {"use": "mesh-frontal", "above_yaw": 0, "no_pose": "turn"},
}


def made(
    kind: str, sources: Sources, index: int, yaw: float, rng: np.random.Generator, exact: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A face as it was turned by a renderer, uint8 ``[SIZE, SIZE]``, its landmarks, and itself unturned.

    Turned by ``yaw`` from where it looked; with ``exact``, to that yaw, with neither pitch nor roll.
    """
    crop, points, extent = sources.crops[index], sources.points[index], sources.extents[index]
    old, _, scale = sources.head.rotation(points)
    zoom = SIZE / (extent[2] - extent[0])
    matrix = np.array([[zoom, 0, -extent[0] * zoom], [0, zoom, -extent[1] * zoom]])
    whole = cv2.warpAffine(crop, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rotation = angles_to_rotation(torch.tensor([float(yaw), 0, 0])).numpy() @ (np.eye(3) if exact else old)
    home = (points.mean(0)[:2] - extent[:2]) * zoom  # the middle of the landmarks stays
    if kind == "A":
        middle = (points[33] + points[263]) / 2
        target = ((points - middle) @ old @ rotation.T) * zoom
        shift = (home - target.mean(0)[:2]).astype(np.float32)
        turned = turn(crop, points, sources.head, Camera(rotation, zoom, shift), SIZE)
        image, covered, marks = turned.picture, turned.covered, turned.points
    else:
        lamp = np.array([*rng.uniform(-0.5, 0.5, 2), -1])
        image, covered, marks = renderer_b.turn(crop, points, old, rotation, scale * zoom * 0.66, SIZE, lamp)
        move = home - np.median(marks[:, :2], 0)
        marks[:, :2] += move
        shifted = np.array([[1, 0, move[0]], [0, 1, move[1]]])
        image = cv2.warpAffine(image, shifted, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        covered = cv2.warpAffine(covered.astype(np.uint8), shifted, (SIZE, SIZE), flags=cv2.INTER_NEAREST) > 0
    behind = cv2.blur(whole, (31, 31))
    alpha = cv2.blur(covered.astype(np.float32), (3, 3)) * covered
    return (image * alpha + behind * (1 - alpha)).astype(np.uint8), marks, whole


def write(args: argparse.Namespace) -> None:
    """Make all views."""
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})
    sources = Sources.read([args.faces], head)
    with np.load(args.faces) as table:
        labels = [Path(path).parent.name for path in table["path"].tolist()]
    rng = np.random.default_rng(3)
    chosen = rng.permutation(near_frontal(sources))[: args.n].tolist()
    fer = ferkit.pipeline("default", {**RECIPE, "align.size": VIEW})
    views: dict[str, list] = {"label": [NAMES.get(labels[i], labels[i]) for i in chosen]}
    for kind in "AB":
        for yaw in YAWS:
            for index in track(chosen, f"{kind} {yaw}"):
                image, marks, whole = made(kind, sources, index, yaw, rng)
                if kind == "A" and yaw == 0:
                    views.setdefault("source", []).append(cv2.resize(whole, (VIEW, VIEW)))
                views.setdefault(f"{kind} {yaw} turned", []).append(
                    cv2.resize(image, (VIEW, VIEW), interpolation=cv2.INTER_AREA)
                )
                batch = ImageBatch((torch.from_numpy(image).expand(3, -1, -1).contiguous(),), ("",))
                found = fer.faces(batch)
                view = fer.views(batch, found)[0].pixels[0]
                views.setdefault(f"{kind} {yaw} frontal", []).append(_grey(view))
                views.setdefault(f"{kind} {yaw} pose", []).append([*found.pose[0].tolist(), float(found.pose_score[0])])
                views.setdefault(f"{kind} {yaw} exact", []).append(_exactly(image, marks, head))
    np.savez(args.out, **{name: np.array(values) for name, values in views.items()})


def _exactly(image: np.ndarray, marks: np.ndarray, head: Head) -> np.ndarray:
    """A face turned back by its true landmarks."""
    drawn = frontalize(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), marks.astype(np.float32), head, FrontalConfig())
    five = to_five({"mesh": torch.from_numpy(drawn.points)[None]})
    picture = torch.from_numpy(drawn.picture).permute(2, 0, 1).contiguous()
    faces = Faces.of([0], [[0, 0, picture.shape[2], picture.shape[1]]], landmarks={"5": five})
    return _grey(align_faces((picture,), faces, Align(size=VIEW))[0])


def _grey(view: torch.Tensor) -> np.ndarray:
    return view.mean(0).mul(255).round().byte().numpy()


def judge(path: Path) -> None:
    """Accuracy of nano on each set of views."""
    fer = ferkit.pipeline("default", {"detector": {"use": "whole-image"}})
    with np.load(path) as views:
        truth = views["label"]
        for name in views.files:
            if name == "label" or name.endswith("pose"):
                continue
            batch = [np.repeat(image[..., None], 3, 2) for image in views[name]]
            results = fer(batch)
            right = np.array([results[i].label == truth[i] for i in range(len(truth))])
            print(f"{name}: {right.mean():.3f} n={len(right)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="?")
    parser.add_argument("--head", type=Path)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--judge", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.judge:
        judge(args.judge)
    else:
        write(args)


if __name__ == "__main__":
    main()
