"""From faces to a run, and from the run to predictions."""

import pytest
import torch

import ferkit
from ferkit.images import decode
from ferkit.types import Faces, ImageBatch


def test_a_head_overfits_and_the_run_predicts(recipe, train, write_faces):
    everything = write_faces("all", train=range(64))
    made = recipe(
        head={"use": "mlp"},
        data__path=str(everything),
        data__validation="train",
        training={"epochs": 60, "lr": 0.01, "batch_size": 32},
    )
    run, metrics = train(made)
    assert metrics["validation"]["accuracy"] == 1.0
    assert metrics["validation"]["n"] == 64
    fer = ferkit.pipeline(run)
    paths = sorted(everything.rglob("*.png"))
    right = [prediction.label == path.parent.name for prediction, path in zip(fer(paths), paths, strict=True)]
    assert all(right)


def test_simple(recipe, train, history):
    run, metrics = train(recipe())
    print(history(run), metrics)
    for f in run.iterdir():
        print(f, f.stat().st_size)
    print((run / "README.md").read_text(), (run / "recipe.yaml").read_text())
