"""Milliseconds a photo of the detector `retinaface`, reduction and suppression included: the best of several runs."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ferkit import Context, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.detector import RetinaFace

PHOTO = Path(__file__).parents[1] / "examples" / "images" / "solvay_1927.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    context = Context(torch.device("cpu"), torch.float32, 0, ("neutral",), WeightsStore())
    print("| photo | photos given | batch_size | ms a photo |\n|---|---|---|---|")
    for width, given, batch_size in ((640, 1, 1), (640, 16, 1), (640, 16, 16), (1600, 1, 1)):
        detector = RetinaFace(RetinaFaceConfig(threads=options.threads, batch_size=batch_size), context)
        photo = Image.open(PHOTO).convert("RGB")
        photo = photo.resize((width, round(photo.height * width / photo.width)))
        image = torch.from_numpy(np.array(photo)).permute(2, 0, 1).contiguous()
        batch = ImageBatch((image,) * given, ("array",) * given)
        best = min(elapsed(detector, batch) for _ in range(options.runs))
        print(f"| {photo.width} x {photo.height} | {given} | {batch_size} | {1000 * best / given:.1f} |")


def elapsed(detector: RetinaFace, batch: ImageBatch) -> float:
    """Seconds that the detector takes for ``batch``."""
    start = time.perf_counter()
    detector(batch)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
