"""Measure the embedded model: the figures of its card.

    python evaluate.py --fer2013 DATA/fer2013 --wild DATA/wild_expressions --out metrics.json

FER2013 PublicTest (the folder ``validation``, never read in training) as whole crops, and the wild subjects that training
held out, through the whole recipe ``default`` with its detector.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from data import FER2013_FOLDERS, LABELS, split, wild
from rich.progress import track
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

import ferkit

BATCH = 64


def scores(truth: list[str], probabilities: np.ndarray, missed: int = 0) -> dict[str, object]:
    """Metrics over scored faces; ``accuracy_all`` counts each of ``missed`` pictures as wrong."""
    guess = [LABELS[index] for index in probabilities.argmax(1)]
    present = [label for label in LABELS if label in truth]
    recalls = recall_score(truth, guess, labels=present, average=None)
    correct = np.array(truth) == np.array(guess)
    return {
        "n": len(truth) + missed,
        "n_scored": len(truth),
        "n_no_face": missed,
        "accuracy": accuracy_score(truth, guess),
        "accuracy_all": float(correct.sum() / (len(truth) + missed)),
        "uar": recall_score(truth, guess, labels=present, average="macro"),
        "macro_f1": f1_score(truth, guess, labels=present, average="macro"),
        "recall": dict(zip(present, recalls.tolist(), strict=True)),
        "support": {label: truth.count(label) for label in present},
        "ece": expected_calibration_error(probabilities.max(1), correct),
        "confusion": confusion_matrix(truth, guess, labels=LABELS).tolist(),
    }


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == b].mean() - correct[which == b].mean()) * (which == b).mean() for b in set(which)]
    return float(sum(gaps))


def run(fer: "ferkit.Pipeline", paths: list[Path], truth: list[str]) -> dict[str, object]:
    """Score the largest face of every picture."""
    rows, labels, missed = [], [], 0
    results = fer.stream(paths, batch_size=BATCH)
    for result, label in zip(track(results, total=len(paths)), truth, strict=True):
        if len(result) == 0:
            missed += 1
            continue
        rows.append(result.probabilities[0].numpy())
        labels.append(label)
    return scores(labels, np.stack(rows), missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="the seed of training, which decides who was held out")
    args = parser.parse_args()

    found = [
        (path, label)
        for folder, label in FER2013_FOLDERS.items()
        for path in sorted((args.fer2013 / "validation" / folder).iterdir())
    ]
    crops = ferkit.pipeline("default", {"detector.use": "whole-image", "pose": None})
    report = {"fer2013_publictest_whole_crops": run(crops, [path for path, _ in found], [label for _, label in found])}

    _, held = split(wild(args.wild), 0.15, args.seed)
    subjects = set(held.groups.tolist())
    with (args.wild / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] in subjects and row["label"] in LABELS]
    photos = [args.wild / "images" / row["image"] for row in rows]
    report["wild_held_out_subjects_default_recipe"] = run(ferkit.pipeline(), photos, [row["label"] for row in rows])

    args.out.write_text(json.dumps(report, indent=1))
    for name, values in report.items():
        print(
            name,
            {
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in values.items()
                if key not in ("confusion",)
            },
        )


if __name__ == "__main__":
    main()
