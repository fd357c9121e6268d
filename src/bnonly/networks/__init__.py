"""The networks of the paper, one family per file; `build` makes any of them."""

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
        Maps images (batch, 3, height, width) to logits (batch, classes); has `architecture` as an attribute.

    Raises
    ------
    UserError
        If the family is unknown.
    """
    family = architecture.family.replace("-", "_")
    if architecture.family not in FAMILIES:
        raise UserError(
            f"{architecture.name}: no family '{architecture.family}'; {accepted(architecture.family, FAMILIES)}"
        )
    # Imported here so that a CIFAR cell does not pay for torchvision (about two seconds).
    made = import_module(f"bnonly.networks.{family}").build(architecture.depth, architecture.channels, classes)
    made.architecture = architecture
    return cast(nn.Module, made)
