"""Checkpoints of the library's own network classes, made to see what tests paint.

A detector's takes bright for face, so its boxes are known. That of the landmarks reads colours: its j-th heat map is the
likeness to the j-th of 68 colours, and landmarks lie where a picture bears them.
"""

import functools
import hashlib

import numpy as np
import pytest
import torch
from face_alignment.detection.blazeface.net_blazeface import BlazeFace
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN as Network
from torch import nn

from ferkit import Context
from ferkit.weights import WeightsStore
from ferkit_face_alignment import DetectorConfig, PoseConfig
from ferkit_face_alignment.detector import FaceAlignmentDetector
from ferkit_face_alignment.files import BACKENDS, FAN
from ferkit_face_alignment.pose import FaceAlignmentPose


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def emptied(network):
    """The network with every weight zero, but for its normalizations, which pass on what they get."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
    return network.eval().requires_grad_(False)


def pass_on(convolution, channels, factor=1.0):
    """Let the first channels through."""
    middle = convolution.kernel_size[0] // 2
    for channel in range(channels):
        convolution.weight[channel, channel, middle, middle] = factor


def bright_s3fd():
    """Faces of 16 pixels wherever a photo is white, seen every 4 pixels; elsewhere background."""
    network = emptied(s3fd())
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"):
        pass_on(getattr(network, name), 1)
    network.conv3_3_norm.weight.fill_(10)
    network.conv3_3_norm_mbox_conf.weight[3, 0, 1, 1] = 1
    network.conv3_3_norm_mbox_conf.bias.copy_(torch.tensor([0, 0, 0, -5.0]))
    for name in ("conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2"):
        getattr(network, f"{name}_mbox_conf").bias[0] = 10
    return network


def bright_blazeface(back):
    """Faces an eighth of the photo wide wherever it is bright, seen 16 times across."""
    network = emptied(BlazeFace(back_model=back))
    first = (network.backbone if back else network.backbone1)[0]
    first.weight[0, :, 2, 2] = 1 / 3
    network.classifier_8.weight[0, 0] = 20
    network.classifier_8.bias.fill_(-10)
    network.classifier_16.bias.fill_(-10)
    network.regressor_8.bias[2:4] = network.x_scale / 8
    return network


def anchors():
    """Centres of 16 x 16 cells, two each, and of 8 x 8, six each: MediaPipe's order, all of the photo's own size."""
    rows = []
    for cells, count in ((16, 2), (8, 6)):
        for y in range(cells):
            rows += [((x + 0.5) / cells, (y + 0.5) / cells, 1, 1) for x in range(cells) for _ in range(count)]
    return np.array(rows, dtype=np.float32)


def lattice():
    """68 well separated ones of equal length, uint8 ``[68, 3]``: Fibonacci's lattice on an eighth of a sphere."""
    index = torch.arange(68) + 0.5
    z = index / 68
    angle = (index * (5**0.5 - 1) / 2 % 1) * torch.pi / 2
    radius = (1 - z * z).sqrt()
    return (255 * torch.stack((radius * angle.cos(), radius * angle.sin(), z), 1)).round().to(torch.uint8)


def colour_fan():
    """One hourglass, which lets colours through; a heat map is 1 where its colour is."""
    network = emptied(Network(1))
    pass_on(network.conv1, 3)
    for block in (network.conv2, network.conv4):
        pass_on(block.downsample[2], 3)
    pass_on(network.m0.b3_4.conv1, 3, -1)  # takes away what comes from the lower scales
    pass_on(network.conv_last0, 3)
    like = lattice().float() / 255
    network.l0.weight[:, :3, 0, 0] = like / like.square().sum(1, keepdim=True)
    return network


def save(folder, name, network):
    torch.save(network.state_dict(), folder / name)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """All files by their published names."""
    folder = tmp_path_factory.mktemp("weights")
    save(folder, BACKENDS["sfd"][0], bright_s3fd())
    for backend, back in (("blazeface", False), ("blazeface-back", True)):
        save(folder, BACKENDS[backend][0], bright_blazeface(back))
        np.save(folder / BACKENDS[backend][1], anchors())
    save(folder, FAN, colour_fan())
    return folder


def _options(folder, names):
    sha256 = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    return {"weights_dir": str(folder), "sha256": sha256}


def _context(device="cpu", dtype=torch.float32, store=None):
    return Context(torch.device(device), dtype, 0, ("neutral", "anger"), store or WeightsStore())


@pytest.fixture(scope="session")
def colours():
    """Of the 68 landmarks, uint8 ``[68, 3]``."""
    return lattice()


@pytest.fixture(scope="session")
def options_for():
    """The options that make a component read the files of these names in a folder."""
    return _options


@pytest.fixture(scope="session")
def context():
    return _context


@pytest.fixture(scope="session")
def detector(folder):
    @functools.cache  # S3FD takes seconds to build
    def build(backend="sfd", **options):
        options = {**_options(folder, BACKENDS[backend]), **options}
        return FaceAlignmentDetector(DetectorConfig(backend=backend, **options), _context())

    return build


@pytest.fixture
def estimator(folder):
    def build(**options):
        return FaceAlignmentPose(PoseConfig(**{**_options(folder, [FAN]), "flip": False, **options}), _context())

    return build
