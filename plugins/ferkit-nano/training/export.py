"""From a run to the weights that ferkit-nano ships.

    python export.py --run runs/nano --faces faces/faces.csv --out ../src/ferkit_nano/weights/nano.safetensors

One temperature, fitted to the FER2013 pictures that were held out of training, is folded into the classifier; tensors are
stored as fp16. With ``--blend`` the weights are the mean of these and of those of an earlier round from which they were
learnt, ``--share`` of it the run's, so that less is lost of what that one knew (Wortsman et al., CVPR 2022). It prints the
digest that belongs into ``ferkit_nano/__init__.py``.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar

import ferkit
from ferkit.weights import WeightsStore, sha256


def held_out(table: Path, labels: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Pictures of FER2013 that nothing was learnt from, and their classes."""
    with table.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "validation" and r["id"].startswith("fer2013/")]
    return [str(table.parent / row["image"]) for row in rows], np.array([labels.index(row["label"]) for row in rows])


def temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """What logits must be divided by for the least negative log-likelihood (Guo et al. 2017)."""
    scores, classes = torch.from_numpy(logits), torch.from_numpy(truth)

    def loss(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / np.exp(log_t), classes))

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--blend", type=Path, help="weights of an earlier export, with which the mean is taken")
    parser.add_argument("--share", type=float, default=0.5, help="of the run's weights in the mean, in [0, 1]")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error(f"--share {args.share} lies outside [0, 1]")
    recipe = ferkit.load_recipe(args.run)
    pictures, truth = held_out(args.faces, recipe.labels)
    fer = ferkit.pipeline(args.run, {"detector.use": "whole-image"})
    results = track(fer.stream(pictures, batch_size=64), total=len(pictures))
    logits = np.log(np.stack([result.probabilities[0].numpy() for result in results]))
    scale = temperature(logits, truth)

    reference = recipe.encoders["nano"].learnt
    assert reference is not None
    store = WeightsStore()
    tensors, _ = store.load(reference)
    base, metadata = store.load(recipe.encoders["nano"].config.weights)
    tensors = base | {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name] / scale
    if args.blend:
        earlier = load_file(args.blend)
        tensors = {
            name: args.share * tensor.float() + (1 - args.share) * earlier[name].float()
            for name, tensor in tensors.items()
        }
    kept = {"labels": json.dumps(recipe.labels), "size": metadata["size"]}
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, args.out, kept)
    accuracy = float((logits.argmax(1) == truth).mean())
    print(f"temperature {scale:.3f} on n = {len(truth)}, accuracy {accuracy:.1%}")
    print(f"{args.out.stat().st_size / 1e6:.1f} MB, #sha256={sha256(args.out)}")


if __name__ == "__main__":
    main()
