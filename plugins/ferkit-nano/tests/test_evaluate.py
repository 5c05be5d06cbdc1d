"""The script that measures the embedded model counts a face that was not found as wrong wherever it says n."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ferkit import Faces, ImageInfo, Predictions

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


@pytest.fixture
def evaluate(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "training"))
    import evaluate

    yield evaluate
    for name in ("evaluate", "collect"):
        sys.modules.pop(name, None)


def test_missed_faces_are_wrong_in_accuracy_and_recall_alike(evaluate):
    happy = np.eye(7)[1]
    truth = ["happiness", "happiness", "happiness", "neutral"]
    figures = evaluate.scores(truth, [happy, None, happy, happy])
    assert (figures["n"], figures["missed"], figures["accuracy"]) == (4, 1, 0.5)
    assert figures["uar_all"] == pytest.approx((2 / 3 + 0) / 2)
    assert figures["uar_found"] == pytest.approx((1 + 0) / 2)


def test_ranges_of_yaw_add_up_to_all_pictures(evaluate):
    def face(yaw):
        faces = Faces.of([0], [[0, 0, 9, 9]], pose=torch.tensor([[yaw, 0, 0]]))
        return Predictions(LABELS, torch.eye(7)[1:2], faces, ((),), (ImageInfo("x", 9, 9, 1),))[0]

    found = [face(5.0), face(-40.0), face(float("nan")), None]
    rows = [None if each is None else np.eye(7)[1] for each in found]
    report = evaluate.by_yaw(["happiness"] * 4, found, rows)
    assert {name: (part["n"], part["missed"], part["accuracy"]) for name, part in report.items()} == {
        "0-15": (1, 0, 1.0), "30-45": (1, 0, 1.0), "unknown": (2, 1, 0.5)
    }  # fmt: skip
    assert evaluate.by_yaw(["anger"], [None], [None])["unknown"]["uar_all"] == 0
