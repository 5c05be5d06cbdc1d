"""From a checkpoint to the weights that ferkit-mesh ships.

    python export.py --run run --head head.npz --out ../src/ferkit_mesh/weights/mesh.safetensors

The moving average of the weights is taken; tensors are stored as fp16, the head's mean as fp32. It prints the digest that belongs
into ``ferkit_mesh/__init__.py``.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from train import KEPT, LAST

from ferkit.training.checkpoint import load
from ferkit.weights import sha256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    kept = load(args.run / LAST, KEPT)
    tensors = {
        name: tensor.half().contiguous()
        for name, tensor in kept["average"].items()
        if not name.endswith("num_batches_tracked")
    }
    dtypes = {"basis": np.float16, "triangles": np.int16, "mirror": np.int16}
    with np.load(args.head) as head:
        for name in head.files:
            tensors[f"head.{name}"] = torch.from_numpy(head[name].astype(dtypes.get(name, np.float32)))
    save_file(tensors, args.out)
    spent = kept["state"]
    print(f"{spent['step']} steps, {spent['spent'] / 60:.0f} minutes; {args.out.stat().st_size / 1e6:.1f} MB")
    print(f"#sha256={sha256(args.out)}")


if __name__ == "__main__":
    main()
