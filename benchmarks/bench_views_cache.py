"""Faces a second that a normalizer's cache answers, against pictures of the sizes that editors return.

python benchmarks/bench_views_cache.py [--faces 200]

Every face is a cut of the group portrait, so that its PNG is that of a photo. `turned` is the cache alone: keys, files, decoding.
`views` is all that a face beyond the gate costs when it was turned before: detection in the result by its known landmarks,
alignment, both views. Processor time of all threads is told as well: where others are at work, the clock tells of them.
"""

import argparse
import os
import tempfile
import time
from collections import deque
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from ferkit.acceptance import Acceptance
from ferkit.builtin import Mirror
from ferkit.cache import Cache
from ferkit.components import Component
from ferkit.images import decode
from ferkit.interfaces import Context
from ferkit.recipe import Part
from ferkit.recipe_model import Accept, Align, Normalization
from ferkit.registry import Registered
from ferkit.turning import Turner
from ferkit.types import Faces, Frontal, ImageBatch
from ferkit.views import ViewBuilder
from ferkit.weights import WeightsStore

PORTRAIT = Path(__file__).parent.parent / "examples" / "images" / "solvay_1927.jpg"


class Editor:
    """Returns cuts of a photo, ``size`` pixels a side."""

    def __init__(self, picture: torch.Tensor, size: int) -> None:
        self._picture, self._size, self._count = picture, size, 0

    def __call__(self, _batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        results: list[Frontal | None] = []
        points = torch.tensor([[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.38, 0.75], [0.62, 0.75]])
        for _ in range(len(faces)):
            self._count += 1
            left = 7 * self._count % (self._picture.shape[2] - 300)
            cut = self._picture[:, 500:800, left : left + 300].float()[None]
            image = F.interpolate(cut, size=(self._size, self._size), mode="bicubic")[0].clamp(0, 255).byte()
            results.append(Frontal(image, points * self._size))
        return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=200)
    count = parser.parse_args().faces
    torch.set_num_threads(1)
    picture = decode(PORTRAIT)
    boxes = torch.tensor([[100.0, 100, 200, 200]]) + torch.arange(count).reshape(-1, 1)
    faces = Faces.of([0] * count, boxes, pose=torch.tensor([[60.0, 0, 0]]).expand(count, 3))
    batch = ImageBatch((picture,), ("portrait",))
    part = Part(Registered(Component("normalizer", "bench", Mirror, "x:y", "bench"), "bench", "0"), Mirror(), "bench")
    context = Context(torch.device("cpu"), torch.float32, 0, ("a", "b"), WeightsStore())
    align, normalization = Align(), Normalization()
    print(f"n = {count} faces, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for size in (224, 512, 1024):
        with tempfile.TemporaryDirectory() as folder:
            turner = Turner(part, Editor(picture, size), context, normalization, Cache(Path(folder)))
            builder = ViewBuilder(
                align, normalization, turner, Acceptance(align, Accept(), _nobody, None, {}, context.device, False)
            )
            _exhaust(turner, batch, faces)
            told = []
            for work in (partial(_exhaust, turner), builder):
                started, used = time.perf_counter(), time.process_time()
                work(batch, faces)
                told.append((count / (time.perf_counter() - started), 1e3 * (time.process_time() - used) / count))
            each = sum(path.stat().st_size for path in Path(folder).rglob("*.png")) / count / 1024
        speeds = ", ".join(
            f"{name} {speed:.0f} faces/s ({cpu:.1f} ms of processor a face)"
            for name, (speed, cpu) in zip(("turned", "views"), told, strict=True)
        )
        print(f"{size} pixels, {each:.0f} KiB: {speeds}", flush=True)


def _exhaust(turner: Turner, batch: ImageBatch, faces: Faces) -> None:
    deque(turner(batch, faces), 0)


def _nobody(_batch: ImageBatch) -> Faces:
    return Faces.none()


if __name__ == "__main__":
    main()
