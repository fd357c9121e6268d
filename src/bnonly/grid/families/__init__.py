"""The families of networks, one file each: their valid options and their operations, without torch.

The file of the same name in `bnonly.networks` builds the network; tests compare the two.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules

from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Architecture
from bnonly.grid.plan import Family, Op, Plan

FAMILIES: dict[str, Family] = {
    module.name.replace("_", "-"): import_module(f"{__name__}.{module.name}").FAMILY
    for module in iter_modules(__path__)
}


def family_of(architecture: Architecture) -> Family:
    """Return an architecture's family.

    Raises
    ------
    UserError
        If it is unknown.
    """
    if architecture.family not in FAMILIES:
        raise UserError(
            f"{architecture.name}: no family '{architecture.family}'; {accepted(architecture.family, FAMILIES)}"
        )
    return FAMILIES[architecture.family]


@lru_cache(maxsize=256)
def network(architecture: Architecture, classes: int, image: int) -> tuple[Op, ...]:
    """Enumerate the operations of a network.

    Parameters
    ----------
    architecture : Architecture
        Family, depth, channels.
    classes : int
        Outputs of the linear layer.
    image : int
        Side of the input in pixels.

    Returns
    -------
    tuple of Op
        In the order of the forward definition; the first is the image, the last the linear layer.

    Raises
    ------
    UserError
        If the family is unknown.
    """
    plan = Plan(image)
    family_of(architecture).layers(plan, architecture.depth, architecture.channels)
    return plan.head(classes)


def min_fan_in(architecture: Architecture) -> int:
    """Return the smallest fan-in of any convolution, which bounds k in "k random weights per channel"."""
    ops = network(architecture, 1, family_of(architecture).min_image)
    return min(ops[op.inputs[0]].channels * op.kernel**2 for op in ops if op.kind == "conv")
