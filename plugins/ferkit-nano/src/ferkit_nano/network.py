"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variant of 2020: ReLU6, no squeeze-and-excitation) in plain torch.

The tensors carry the names of timm's ``tf_efficientnet_lite0``, so the same weights load in both. It is written out
here because importing timm costs more than a whole cold prediction may take.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 1280
# (repeats, kernel, stride, expansion, channels); the first row is depthwise-separable, without expansion
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


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

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, kernel, stride, groups=inputs, bias=False)
        self.bn1 = _norm(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)), inplace=True)))


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv_pw = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = _norm(width)
        self.conv_dw = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self.bn2 = _norm(width)
        self.conv_pwl = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.shortcut else y


class Nano(nn.Module):
    """Face views ``[M, 3, S, S]``, normalized to -1..1, to pooled features ``[M, 1280]`` and logits ``[M, C]``."""

    def __init__(self, classes: int, drop: float = 0.0) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self.bn1 = _norm(32)
        self.blocks = nn.Sequential(*_stages())
        self.conv_head = nn.Conv2d(STAGES[-1][-1], FEATURES, 1, bias=False)
        self.bn2 = _norm(FEATURES)
        self.drop = nn.Dropout(drop)
        self.classifier = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, ``[M, 1280, s, s]``."""
        x = F.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_head(self.blocks(x))), inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.features(x).mean((2, 3))
        return pooled, self.classifier(self.drop(pooled))

    def stages(self) -> list[list[nn.Parameter]]:
        """Parameter groups from input to output."""
        stem = [*self.conv_stem.parameters(), *self.bn1.parameters()]
        last = [*self.conv_head.parameters(), *self.bn2.parameters(), *self.classifier.parameters()]
        return [stem, *(list(stage.parameters()) for stage in self.blocks), last]


def _stages() -> Iterator[nn.Sequential]:
    inputs = 32
    for repeats, kernel, stride, expansion, outputs in STAGES:
        blocks: list[nn.Module] = []
        for index in range(repeats):
            step = stride if index == 0 else 1
            if expansion == 1:
                blocks.append(Separable(inputs, outputs, kernel, step))
            else:
                blocks.append(InvertedResidual(inputs, outputs, kernel, step, expansion))
            inputs = outputs
        yield nn.Sequential(*blocks)


def fuse(network: nn.Module) -> None:
    """Fold every batch norm into the convolution before it: the same output, less work. For inference only."""
    for module in network.modules():
        children = dict(module.named_children())
        pairs = zip(list(children), list(children)[1:], strict=False)
        for conv, norm in pairs:
            if isinstance(children[conv], nn.Conv2d) and isinstance(children[norm], nn.BatchNorm2d):
                with torch.no_grad():
                    setattr(module, conv, fuse_conv_bn_eval(children[conv], children[norm]))
                setattr(module, norm, nn.Identity())
