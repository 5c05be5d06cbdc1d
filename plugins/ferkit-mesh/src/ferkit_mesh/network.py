"""The network behind ``mesh``: a grey crop to rotation, place and shape of a head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 80  # side of its input in pixels
MEAN, STD = 0.447, 0.25  # of the grey values 0..1 it takes
STAGES = ((1, 1, 64), (2, 2, 128), (2, 2, 256), (6, 2, 512))  # blocks, stride of the first, channels
GRID, NARROW, HIDDEN = SIZE // 16, 64, 256
UNIT = 0.35  # of the crop's side: about the distance between the eyes' outer corners


class Raw(NamedTuple):
    """What the network says of M crops.

    Attributes:
        rotation: ``[M, 3, 3]``, head to camera.
        place: ``[M, 2]``, the head's origin in the crop, -1..1 from edge to edge.
        scale: ``[M]``, half sides of the crop per unit of the head.
        shape: ``[M, K]``, weights of the components, in standard deviations.
        confidence: ``[M]``, logits.
    """

    rotation: Tensor
    place: Tensor
    scale: Tensor
    shape: Tensor
    confidence: Tensor


class SameConv(nn.Conv2d):
    """A 3 x 3 convolution padded as TensorFlow's SAME for inputs of even size."""

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return F.conv2d(input, self.weight, self.bias, 1, 1, groups=self.groups)
        return F.conv2d(F.pad(input, (0, 1, 0, 1)), self.weight, self.bias, 2, groups=self.groups)


class Separable(nn.Module):
    """Depthwise, then pointwise convolution (MobileNet, Howard et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs, eps=1e-3)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_pw(x)), inplace=True)


class MeshNet(nn.Module):
    """The first four stages of MobileNetV1, then a linear read-out that knows where in the crop a feature was seen."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.conv_stem = SameConv(1, 32, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(32, eps=1e-3)
        stages, inputs = [], 32
        for count, stride, outputs in STAGES:
            widths = [inputs, *[outputs] * count]
            blocks = [Separable(widths[index], outputs, 1 if index else stride) for index in range(count)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.narrow = nn.Sequential(nn.Conv2d(inputs, NARROW, 1), nn.ReLU(inplace=True))
        self.hidden = nn.Sequential(nn.Linear(NARROW * GRID * GRID, HIDDEN), nn.ReLU(inplace=True))
        self.out = nn.Linear(HIDDEN, 10 + components)

    def forward(self, x: Tensor) -> Raw:
        """Crops ``[M, 1, SIZE, SIZE]`` of mean 0 and deviation 1."""
        maps = self.blocks(F.relu6(self.bn1(self.conv_stem(x)), inplace=True))
        out = self.out(self.hidden(self.narrow(maps).flatten(1))).float()
        return Raw(
            rotation_of(out[:, :6]), out[:, 6:8], 2 * UNIT * out[:, 8].clamp(-3, 3).exp(), out[:, 10:], out[:, 9]
        )


def rotation_of(six: Tensor) -> Tensor:
    """Rotations ``[M, 3, 3]`` from six numbers each, which they follow without a jump (Zhou et al., CVPR 2019)."""
    start = six.new_tensor([1.0, 0, 0, 0, 1, 0])
    a, b = (six + start).reshape(-1, 2, 3).unbind(1)
    right = F.normalize(a, dim=1)
    down = F.normalize(b - right * (right * b).sum(1, keepdim=True), dim=1)
    return torch.stack([right, down, torch.linalg.cross(right, down)], 2)


def points_of(raw: Raw, mean: Tensor, basis: Tensor) -> Tensor:
    """The landmarks ``[M, 468, 3]`` in half sides of the crop from its centre; depth is counted from the head's origin."""
    shape = mean + torch.einsum("mk,kpc->mpc", raw.shape, basis)
    points = raw.scale[:, None, None] * (shape @ raw.rotation.mT)
    return points + F.pad(raw.place, (0, 1))[:, None]
