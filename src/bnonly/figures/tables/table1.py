"""Table 1: parameters of the ResNets, and the part in each kind of layer (Section 3).

Exact counts of the built networks; the fractions refer to the total.
"""

from bnonly.figures.needs import Need
from bnonly.figures.tables import counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

NEEDS = tuple(Need(experiment, ("all",), files=()) for experiment in ("cifar-depth", "cifar-width", "imagenet"))


def build(data: Results, counted: counts.Counts) -> Table:
    """Make the table."""
    title = "Table 1: ResNet specifications and parameters in each part of the network."
    return counts.build(data.panels, counted, title, ("Total", "BatchNorm", "Output", "Shortcut"), decimals=None)
