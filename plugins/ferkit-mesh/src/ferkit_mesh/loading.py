"""From the tensors of a weights file to the head and the network."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ferkit import WeightsError
from ferkit_mesh.head import Head
from ferkit_mesh.network import MeshNet

HEAD = "head."


def head_of(tensors: dict[str, Tensor], source: str) -> Head:
    """The head model among ``tensors``.

    Raises:
        WeightsError: If there is none; ``source`` is named.
    """
    try:
        return Head.of({name: tensor.numpy() for name, tensor in tensors.items() if name.startswith(HEAD)})
    except KeyError as error:
        raise WeightsError(f"{source} holds no head model: {error} is missing; training/export.py writes it") from error


def network_of(tensors: dict[str, Tensor], source: str) -> MeshNet:
    """The network, ready to infer: batch norms are folded into the convolutions before them.

    Raises:
        WeightsError: If ``tensors`` are not this network's; ``source`` is named.
    """
    network = MeshNet(len(tensors[f"{HEAD}basis"]))
    own = {name: tensor.float() for name, tensor in tensors.items() if not name.startswith(HEAD)}
    try:
        found = network.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{source} holds another network: {error}") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        named = ", ".join([*missing, *found.unexpected_keys][:3])
        raise WeightsError(f"{source} holds another network: {named} and others")
    network.eval().requires_grad_(False)
    fuse(network)
    return network


def fuse(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it."""
    children = list(module.named_children())
    for (name, conv), (after, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            setattr(module, after, nn.Identity())
    for _, child in children:
        fuse(child)
