"""What an evaluation costs beside its predictions, and what a comparison costs.

python benchmarks/bench_evaluation.py [--photos 160] [--repeats 5] [--rows 10000]

Photos with one face are cut with a seed from `examples/images` and evaluated as a folder data set with the recipe `default`;
`prediction` is `Pipeline.stream` on the same files. The journal is on, as with --out. What scoring, the report's files and a
comparison cost does not depend on the model: it is measured on made-up rows, with 10,000 resamples. Times are of the processor,
all threads together: where others are at work, the clock tells of them.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pandas import DataFrame
from PIL import Image

import ferkit
from ferkit.evaluation.collecting import Job
from ferkit.evaluation.comparison import Comparison
from ferkit.evaluation.data import judged
from ferkit.evaluation.predicting import Predictor
from ferkit.evaluation.rows import table
from ferkit.journal import Journal

PORTRAIT = Path(__file__).parent.parent / "examples" / "images" / "astronaut.jpg"
SIDE = 380


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        compare_with_prediction(Path(folder), arguments.photos, arguments.repeats)
    for units in (None, 3, 100):
        score_and_compare(arguments.rows, units)


def compare_with_prediction(folder: Path, photos: int, repeats: int) -> None:
    """Time predictions alone and an evaluation's, in turns."""
    paths = write_photos(folder / "photos" / "neutral", photos)
    recipe = ferkit.load_recipe("default", {"data.use": "folder", "data.path": str(folder / "photos")})
    fer = ferkit.pipeline(recipe)
    data = judged(recipe)
    took: dict[str, list[float]] = {"prediction": [], "evaluation": []}

    def evaluate() -> None:
        with Journal(folder / "journal.jsonl") as journal:
            journal.begin({}, overwrite=True)
            table(Job(Predictor(fer, data.is_crop, 16), data, shows=False).rows(journal), fer.recipe.labels)
            journal.finish()

    works = {"prediction": lambda: deque(fer.stream(paths, batch_size=16), maxlen=0), "evaluation": evaluate}
    for turn in range(repeats + 1):
        for name, work in works.items():
            seconds = timed(work)
            if turn:  # the first is to warm up
                took[name].append(seconds)
    ratios = [more / less for more, less in zip(took["evaluation"], took["prediction"], strict=True)]
    for name, values in took.items():
        print(
            f"{name}: {1e3 * statistics.median(values) / photos:.1f} ms a photo (median of {repeats}, {photos} photos)"
        )
    print(
        f"overhead: {statistics.median(ratios) - 1:+.1%} (median of pairs; {min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
    )


def write_photos(folder: Path, count: int) -> list[Path]:
    """Random cuts of the portrait, one face each: a prediction is of every face, an evaluation of the annotated one."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    portrait = Image.open(PORTRAIT).convert("RGB")
    paths = []
    for index in range(count):
        x, y = draw.randint(0, 100), draw.randint(0, 20)
        paths.append(folder / f"{index:04}.jpg")
        portrait.crop((x, y, x + SIDE, y + SIDE)).save(paths[-1], quality=92)
    return paths


def score_and_compare(n: int, per_unit: int | None) -> None:
    """Time scoring and comparing of made-up rows; ``per_unit`` faces a subject."""
    a, b = (made_up(n, per_unit, seed) for seed in (0, 1))
    b = b.assign(true_label=a["true_label"])
    kind = f"{per_unit} faces a subject" if per_unit else "by face"
    found = {}

    def score() -> None:
        found["evaluation"] = ferkit.Evaluation.of(a, {})

    score_seconds, clock = timed(score), time.perf_counter()
    compare_seconds = timed(lambda: Comparison.of((a, {}), (b, {})))
    clock = time.perf_counter() - clock
    with tempfile.TemporaryDirectory() as folder:
        write_seconds = timed(lambda: found["evaluation"].write(Path(folder) / "report"))
    print(
        f"{n} rows, {kind}: scoring {score_seconds:.1f} s, writing the report {write_seconds:.2f} s, comparing "
        f"{compare_seconds:.1f} s ({clock:.1f} s by the clock)"
    )


def made_up(n: int, per_unit: int | None, seed: int) -> DataFrame:
    """Rows with seven classes, poses, and a share of missed faces."""
    rng = np.random.default_rng(seed)
    labels = ferkit.load_recipe("default").labels
    shares = rng.dirichlet(np.full(len(labels), 0.3), n)
    truth = np.where(rng.random(n) < 0.6, shares.argmax(1), rng.integers(0, len(labels), n))
    yaws = rng.normal(0, 30, n)
    rows = [
        {
            "id": f"{index:06}",
            "source": f"{index:06}.jpg",
            "true_label": labels[truth[index]],
            "label": labels[row.argmax()],
            "confidence": float(row.max()),
            **{f"p_{label}": float(share) for label, share in zip(labels, row, strict=True)},
            "yaw": float(yaws[index]),
            "pitch": 0.0,
            "flags": "",
            "subject": f"{index // per_unit}" if per_unit else None,
            "split": "test",
            "pose_from": "estimated",
            "status": "scored",
        }
        for index, row in enumerate(shares)
    ]
    for index in np.flatnonzero(rng.random(n) < 0.02):
        rows[index] |= {"label": "", "status": "no_face", **{f"p_{label}": None for label in labels}}
    return table(rows, labels)


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
