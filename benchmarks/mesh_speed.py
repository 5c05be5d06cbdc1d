"""Milliseconds a face of `mesh` and of `mesh-frontal`, the best of several runs over the faces of a group photo."""

import argparse
import time

import numpy as np
import torch
from PIL import Image
from retinaface_speed import PHOTO

import ferkit
from ferkit import Context, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_mesh import FrontalConfig, MeshConfig
from ferkit_mesh.frontal import MeshFrontal
from ferkit_mesh.pose import Mesh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--size", type=int, default=112, help="of the frontal faces, in pixels")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    context = Context(torch.device("cpu"), torch.float32, 0, ("neutral",), WeightsStore())
    mesh, frontal = Mesh(MeshConfig(), context), MeshFrontal(FrontalConfig(size=options.size), context)
    image = torch.from_numpy(np.array(Image.open(PHOTO).convert("RGB"))).permute(2, 0, 1).contiguous()
    batch = ImageBatch((image,), ("array",))
    faces = ferkit.pipeline("default", {"pose": None}).faces(batch)
    rows = []
    with torch.inference_mode():
        for _ in range(options.runs):
            clock, work = [time.perf_counter()], [time.process_time()]
            posed = mesh(batch, faces)
            clock.append(time.perf_counter())
            work.append(time.process_time())
            frontal(batch, posed)
            clock.append(time.perf_counter())
            work.append(time.process_time())
            rows.append([*np.diff(clock), *np.diff(work)])
    best = np.min(rows, 0) * 1000 / len(faces)
    print("| n | threads | `mesh` | `mesh-frontal` | both, faces a second |\n|---|---|---|---|---|")
    print(f"| {len(faces)} | {options.threads} | {best[0]:.1f} ms | {best[1]:.1f} ms | {1000 / best[:2].sum():.0f} |")
    print(f"processor time: {best[2]:.1f} ms and {best[3]:.1f} ms")


if __name__ == "__main__":
    main()
