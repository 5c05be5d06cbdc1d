"""Real faces turned away, with the five landmarks of `retinaface`: the teacher is wrong there.

    python turned.py faces_fer2013.npz faces_wild.npz --fer2013 DATA/fer2013/train --wild DATA/wild_expressions \\
        --head head.npz --out turned.npz

Kept are the largest faces beyond 15 degrees by `landmark-pnp`, but for those that the teacher has labelled. To these is fitted
where the detector's five points lie on the head: its eyes, nose and mouth are not exactly those of the mesh. Name the pictures as
they were named to ``teacher.py``. How far they are turned is what ``whenet.py`` tells; this yaw only chooses them.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

import ferkit
from ferkit.geometry import to_five
from ferkit.images import decode
from ferkit.types import ImageBatch
from ferkit_mesh.head import Floats, Head

SIZE = 128  # side of the stored crop in pixels
ROOM = 1.6  # side of the stored crop, in units of the box
LEAST = 15.0  # degrees of yaw


def pictures(args: argparse.Namespace) -> list[tuple[Path, str]]:
    """Path and subject of each."""
    found = [(path, path.stem) for path in sorted(args.fer2013.rglob("*.jp*g"))]
    with (args.wild / "manifest.csv").open(newline="") as file:
        return found + [(args.wild / "images" / row["image"], row["subject"]) for row in csv.DictReader(file)]


def crop_of(image: torch.Tensor, box: Floats, five: Floats) -> tuple[np.ndarray, Floats, Floats]:
    """The stored crop, uint8 ``[SIZE, SIZE]``, box and points in it."""
    side = max(box[2:] - box[:2]) * ROOM
    corner, scale = (box[:2] + box[2:]) / 2 - side / 2, SIZE / side
    grey = cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
    if scale < 0.6:  # shrink without aliasing
        grey = cv2.GaussianBlur(grey, (0, 0), 0.4 / scale)
    shift = (0.5 - corner) * scale - 0.5  # cv2 puts the centre of the first pixel at 0
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    crop = cv2.warpAffine(grey, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, ((box.reshape(2, 2) - corner) * scale).reshape(4), (five - corner) * scale


def taught_points(paths: list[Path]) -> dict[str, tuple[Floats, Floats]]:
    """By picture the teacher's points in the pixels of its crop, and the picture's extent there."""
    taught = {}
    for path in paths:
        with np.load(path) as table:
            rows = zip(table["path"].tolist(), table["points"], table["extent"], strict=True)
            taught.update({name: (points, extent) for name, points, extent in rows})
    return taught


def in_picture(points: Floats, extent: Floats, width: int) -> Floats:
    """The teacher's points ``[468, 3]`` in pixels of the picture, whose first pixel has its centre at 0.5."""
    scale = (extent[2] - extent[0]) / width
    placed: Floats = (points - [*extent[:2], 0]) / scale + [0.5, 0.5, 0]
    return placed.astype(np.float32)


def offsets(head: Head, dense: Floats, five: Floats) -> Floats:
    """Where the detector's points lie beside the mesh's own five, ``[5, 3]`` in units of the head: least squares.

    Args:
        head: Gives each face its rotation and scale.
        dense: ``[N, 468, 3]`` of the teacher.
        five: ``[N, 5, 2]`` of the detector, in the same pixels.
    """
    own = to_five({"mesh": torch.from_numpy(dense)})
    assert own is not None
    placed = [head.rotation(points) for points in dense]
    axes = np.stack([rotation[:2] * scale for rotation, _, scale in placed])  # [N, 2, 3]
    away = five - own.numpy()
    near = np.linalg.norm(away, axis=2).max(1) < 0.3 * np.array([scale for *_, scale in placed])
    columns = [np.linalg.lstsq(axes[near].reshape(-1, 3), away[near, k].reshape(-1), rcond=None)[0] for k in range(5)]
    return np.stack(columns).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+", help="of teacher.py")
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})
    taught = taught_points(args.faces)
    finder = ferkit.pipeline("default", {"detector.threads": 1, "pose": {"use": "landmark-pnp"}})
    kept: dict[str, list] = {name: [] for name in ("crop", "box", "five", "yaw", "subject")}
    paths = pictures(args)
    if not any(str(path) in taught for path, _ in paths):
        parser.error(f"no picture is named as in the teacher's files, such as {next(iter(taught), 'none')}")
    both: tuple[list[Floats], list[Floats]] = ([], [])
    for path, subject in track(paths):
        image = decode(path)
        faces = finder.faces(ImageBatch((image,), (str(path),)))
        if not len(faces) or not torch.isfinite(faces.landmarks["5"][0]).all():
            continue
        five, yaw = faces.landmarks["5"][0].numpy(), float(faces.pose[0, 0])
        if str(path) in taught:
            both[0].append(in_picture(*taught[str(path)], image.shape[2]))
            both[1].append(five)
        elif abs(yaw) >= LEAST:
            values = (*crop_of(image, faces.boxes[0].numpy(), five), yaw, subject)
            for column, value in zip(kept.values(), values, strict=True):
                column.append(value)
    beside = offsets(head, np.stack(both[0]), np.stack(both[1]))
    print(f"{len(kept['yaw'])} faces turned away; the five points, fitted to {len(both[0])} faces:\n{beside.round(3)}")
    np.savez(args.out, beside=beside, **{name: np.array(column) for name, column in kept.items()})


if __name__ == "__main__":
    main()
