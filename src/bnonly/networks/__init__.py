"""The networks of the paper, one family per file; `build` makes any of them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from torch import nn

from bnonly.grid.cell import Architecture
from bnonly.grid.families import family_of


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
    family_of(architecture)  # refuses an unknown one
    # Imported here so that a CIFAR cell does not pay for torchvision (about two seconds).
    family = import_module(f"bnonly.networks.{architecture.family.replace('-', '_')}")
    made = family.build(architecture.depth, architecture.channels, classes)
    made.architecture = architecture
    return cast(nn.Module, made)
