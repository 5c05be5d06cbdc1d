"""The two archives as arrays of grey faces: FER2013 (48-px crops) and the wild set (photographs of faces)."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
FER2013_FOLDERS = dict(zip(("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"), LABELS, strict=True))
STORED = 96  # px: wild faces are kept at this size; FER2013 is upsampled to it


@dataclass(frozen=True)
class Faces:
    """``images`` uint8 ``[N, STORED, STORED]``, ``labels`` int64 ``[N]``, ``groups``: what must not be split apart."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Faces":
        return Faces(self.images[index], self.labels[index], self.groups[index])


def fer2013(root: Path, split: str) -> Faces:
    """FER2013 as folders. Identical pictures share a group, so that no copy crosses a split."""
    images, labels, groups = [], [], []
    for folder, label in FER2013_FOLDERS.items():
        for path in sorted((root / split / folder).iterdir()):
            small = np.asarray(Image.open(path).convert("L"))
            groups.append(hashlib.sha1(small.tobytes()).hexdigest())
            images.append(np.asarray(Image.fromarray(small).resize((STORED, STORED), Image.Resampling.BICUBIC)))
            labels.append(LABELS.index(label))
    return Faces(np.stack(images), np.array(labels), np.array(groups))


def wild(root: Path) -> Faces:
    """The wild set, without its 8 faces of contempt; pictures are padded to a square. Groups are subjects."""
    images, labels, groups = [], [], []
    with (root / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["label"] not in LABELS:
                continue
            images.append(_square(Image.open(root / "images" / row["image"]).convert("L")))
            labels.append(LABELS.index(row["label"]))
            groups.append(row["subject"])
    return Faces(np.stack(images), np.array(labels), np.array(groups))


def _square(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    height, width = pixels.shape
    side = max(height, width)
    y, x = side - height, side - width
    padded = np.pad(pixels, ((y // 2, y - y // 2), (x // 2, x - x // 2)), mode="edge")
    return np.asarray(Image.fromarray(padded).resize((STORED, STORED), Image.Resampling.LANCZOS))


def split(faces: Faces, share: float, seed: int) -> tuple[Faces, Faces]:
    """Split by group: ``1 - share`` to train on, ``share`` held out."""
    groups = np.unique(faces.groups)
    chosen = np.random.default_rng(seed).permutation(groups)[: round(share * len(groups))]
    held = np.isin(faces.groups, chosen)
    return faces.take(np.flatnonzero(~held)), faces.take(np.flatnonzero(held))
