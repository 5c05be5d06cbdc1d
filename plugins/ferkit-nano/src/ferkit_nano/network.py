"""MobileNetV1 (Howard et al. 2017) for grey faces, in plain torch.

The tensors carry the names of timm's ``mobilenetv1_100`` with one input channel and padding ``same``, so the same weights
load in both. It is written out here because importing timm costs more than a whole cold prediction may take.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 1024
MEAN, STD = 0.447, 0.25  # of the grey values 0..1 it takes
STAGES = ((1, 1, 64), (2, 2, 128), (2, 2, 256), (6, 2, 512), (2, 2, FEATURES))  # blocks, stride of the first, channels


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the surplus goes right and below."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[-2:]]
        y, x = missing
        before = (y // 2, x // 2)
        if y % 2 or x % 2:
            input = F.pad(input, (before[1], x - before[1], before[0], y - before[0]))
            before = (0, 0)  # padding apart copies the input, so it is done only where it is lopsided
        return F.conv2d(input, self.weight, self.bias, self.stride, before, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Separable(nn.Module):
    """Depthwise, then pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.bn1 = _norm(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_pw(x)), inplace=True)


class Nano(nn.Module):
    """Grey face views ``[M, 1, S, S]`` of mean 0 and deviation 1 to feature maps, and those to logits."""

    def __init__(self, classes: int, drop: float = 0.0) -> None:
        super().__init__()
        self.conv_stem = SameConv(1, 32, 3, 2, bias=False)
        self.bn1 = _norm(32)
        self.blocks = nn.Sequential(*_stages())
        self.drop = nn.Dropout(drop)
        self.classifier = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, ``[M, 1024, s, s]``."""
        maps: Tensor = self.blocks(F.relu6(self.bn1(self.conv_stem(x)), inplace=True))
        return maps

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups from input to output."""
        stem = [*self.conv_stem.parameters(), *self.bn1.parameters()]
        return [stem, *(list(stage.parameters()) for stage in self.blocks), list(self.classifier.parameters())]


def _stages() -> Iterator[nn.Sequential]:
    inputs = 32
    for count, stride, outputs in STAGES:
        widths = [inputs, *[outputs] * count]
        yield nn.Sequential(*(Separable(widths[index], outputs, stride if index == 0 else 1) for index in range(count)))
        inputs = outputs


def fuse(network: nn.Module) -> None:
    """Fold every batch norm into the convolution before it: the same output, less work. For inference only."""
    for module in network.modules():
        children = dict(module.named_children())
        pairs = zip(list(children), list(children)[1:], strict=False)
        for before, after in pairs:
            conv, norm = children[before], children[after]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                with torch.no_grad():
                    setattr(module, before, fuse_conv_bn_eval(conv, norm))
                setattr(module, after, nn.Identity())
