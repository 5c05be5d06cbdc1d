"""Rows as an evaluation writes them, without a model, and a real scene judged by the embedded recipe."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import ferkit
from ferkit.evaluation.rows import table, write_rows

ROOT = Path(__file__).parents[2]
SOLVAY = ROOT / "plugins" / "ferkit-retinaface" / "tests" / "solvay_1927.json"
LABELS = ("neutral", "happiness", "sadness")


def row(index, truth, guess, **more):
    """A scored row; ``guess`` None: its face was missed."""
    known = {"id": f"{index:05}", "source": f"{index}.png", "true_label": truth, "split": "test", "flags": ""}
    if guess is None:
        return {**known, "label": "", "status": "no_face", "pose_from": "", **more}
    shares = {f"p_{label}": 0.8 if label == guess else 0.1 for label in LABELS}
    box = {"x0": 0.0, "y0": 0.0, "x1": 8.0, "y1": 8.0, "face": 0}
    own = {"label": guess, "confidence": 0.8, "status": "scored", "pose_from": "estimated", "yaw": 0.0, "pitch": 0.0}
    return {**known, **shares, **box, **own, **more}


@pytest.fixture
def rows():
    """A DataFrame of ``(truth, guess)`` or ``(truth, guess, more)``."""

    def build(pairs):
        return table([row(i, *pair[:2], **(pair[2] if len(pair) > 2 else {})) for i, pair in enumerate(pairs)], LABELS)

    return build


@pytest.fixture
def random_rows(rows):
    """``n`` rows of which a share is right, with a seed."""

    def build(n, right=0.7, seed=0, **columns):
        rng = np.random.default_rng(seed)
        truth = rng.choice(LABELS, n, p=(0.5, 0.3, 0.2))
        guess = np.where(rng.random(n) < right, truth, rng.choice(LABELS, n))
        more = [{name: values[i] for name, values in columns.items()} for i in range(n)]
        return rows(list(zip(truth.tolist(), guess.tolist(), more, strict=True)))

    return build


@pytest.fixture
def report(tmp_path):
    """Write rows as a report's folder."""

    def write(name, frame, **provenance):
        folder = tmp_path / name
        folder.mkdir()
        write_rows(folder / "predictions.parquet", frame, provenance)
        return folder

    return write


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """A manifest of the group portrait's 29 faces, a place without one, a crop that is broken, and a known pose."""
    folder = tmp_path_factory.mktemp("scene")
    known = json.loads(SOLVAY.read_text())
    picture = str(ROOT / known["image"])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    boxes = [*known["boxes"], [5, 5, 40, 40]]
    with (folder / "faces.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "id", "label", "x0", "y0", "x1", "y1", "subject"])
        for index, box in enumerate(boxes):
            writer.writerow([picture, f"face-{index:02}", ("neutral", "sadness")[index % 2], *box, f"person {index}"])
        writer.writerow([str(folder / "broken.jpg"), "broken", "neutral", 0, 0, 8, 8, "nobody"])
    return folder / "faces.csv"


@pytest.fixture(scope="session")
def installed():
    """What is installed, whatever a test before has put in its place."""
    return ferkit.Registry.discover()


@pytest.fixture(scope="session")
def judged(scene, installed, tmp_path_factory):
    """The evaluation of the scene by the recipe ``default``, and its folder."""
    folder = tmp_path_factory.mktemp("judged") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = ferkit.evaluate("default", f"manifest:{scene}", folder, resamples=500, registry=installed)
    return found, folder
