"""What RetinaFace and a face mesh see in a folder of photographs; shared by the measuring scripts beside it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from retinaface import detect_faces

PAD = 100  # the photographs are cropped close; the detector wants to see a border
MESH_SIZE = 192


class Detection(NamedTuple):
    box: np.ndarray  # x0 y0 x1 y1 in pixels
    points: np.ndarray  # [5, 2]: eye, eye, nose, mouth corner, mouth corner, as they lie in the image


def choose(folder: Path, n: int, seed: int = 0) -> list[Path]:
    """``n`` pictures of ``folder``, drawn with ``seed``."""
    paths = sorted(folder.glob("*.jpg"))
    picked = np.random.default_rng(seed).permutation(len(paths))[:n]
    return [paths[i] for i in sorted(picked)]


def subjects(folder: Path) -> dict[str, str]:
    """File name to person, of the manifest beside ``folder``."""
    with (folder.parent / "manifest.csv").open(newline="") as file:
        return {row["image"]: row["subject"] for row in csv.DictReader(file)}


def largest_face(image: np.ndarray) -> Detection | None:
    """RetinaFace's largest face of an RGB picture, in its pixels."""
    faces = detect_faces(np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge"), score_threshold=0.6)
    if not faces:
        return None
    face = max(faces, key=lambda face: face.width * face.height)
    box = np.array([face.x, face.y, face.x + face.width, face.y + face.height], float)
    return Detection(box - PAD, np.array([(point.x, point.y) for point in face.landmarks], float) - PAD)


def detections(paths: list[Path]) -> Iterator[tuple[Path, np.ndarray, Detection]]:
    """Path, picture and its largest face, where there is one."""
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        if (found := largest_face(image)) is not None:
            yield path, image, found


class Mesh:
    """MediaPipe's face mesh (``face_landmark.tflite``, Apache-2.0): 468 points with depth, and its presence logit."""

    def __init__(self, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(str(model), num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]

    def __call__(self, image: np.ndarray, found: Detection) -> tuple[np.ndarray, float]:
        """Points ``[468, 3]`` in pixels of ``image`` (depth in the same unit, smaller is nearer), presence logit."""
        (x0, y0, x1, y1), eyes = found.box, found.points[1] - found.points[0]
        scale = MESH_SIZE / (1.5 * max(x1 - x0, y1 - y0))
        angle = np.degrees(np.arctan2(eyes[1], eyes[0]))
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, angle, scale)
        matrix[:, 2] += MESH_SIZE / 2 - np.array(centre)
        crop = cv2.warpAffine(
            image, matrix, (MESH_SIZE, MESH_SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        self._net.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._net.invoke()
        points, presence = sorted((self._net.get_tensor(index) for index in self._outputs), key=np.size, reverse=True)
        points = points.reshape(468, 3).astype(float)
        back = cv2.invertAffineTransform(matrix)
        return np.c_[points[:, :2] @ back[:, :2].T + back[:, 2], points[:, 2] / scale], float(presence.ravel()[0])
