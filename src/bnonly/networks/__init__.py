"""The networks of the paper, one family a file; `build` makes any of them."""

from __future__ import annotations

from torch import nn

from bnonly.errors import UserError
from bnonly.grid.cell import Architecture


def build(architecture: Architecture, classes: int) -> nn.Module:
    """Build a network for images of three channels; its values are set by `bnonly.networks.regimes`.

    Parameters
    ----------
    architecture : Architecture
        Family, depth and channels.
    classes : int
        Outputs of the linear layer.

    Returns
    -------
    torch.nn.Module
        Maps images (batch, 3, height, width) to logits (batch, classes).

    Raises
    ------
    UserError
        If the family is none of these.
    """
    # Imported here, so that a CIFAR cell does not pay for torchvision (some two seconds).
    if architecture.family == "cifar-resnet":
        from bnonly.networks.cifar_resnet import CifarResNet

        return CifarResNet(architecture.depth, architecture.channels, classes)
    if architecture.family == "vgg":
        from bnonly.networks.vgg import Vgg

        return Vgg(architecture.depth, architecture.channels, classes)
    if architecture.family == "imagenet-resnet":
        from bnonly.networks.imagenet_resnet import imagenet_resnet

        return imagenet_resnet(architecture.depth, architecture.channels, classes)
    raise UserError(
        f"{architecture.name}: nothing builds family '{architecture.family}'; write its network in bnonly/networks and a branch "
        "in bnonly.networks.build"
    )
