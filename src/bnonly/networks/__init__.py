"""The networks of the paper, one family a file; `build` makes any of them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from torch import nn

from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Architecture
from bnonly.grid.families import FAMILIES


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
        Maps images (batch, 3, height, width) to logits (batch, classes); its `architecture` is the one given.

    Raises
    ------
    UserError
        If the family is none of these.
    """
    family = architecture.family.replace("-", "_")
    if architecture.family not in FAMILIES:
        raise UserError(
            f"{architecture.name}: no family '{architecture.family}'; {accepted(architecture.family, FAMILIES)}"
        )
    # Imported here, so that a CIFAR cell does not pay for torchvision (some two seconds).
    made = import_module(f"bnonly.networks.{family}").build(architecture.depth, architecture.channels, classes)
    made.architecture = architecture
    return cast(nn.Module, made)
