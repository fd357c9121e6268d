"""Second table of Appendix C.1: parameters of the VGG networks, and the part in each kind of layer.

Table 1 for networks without shortcuts; the paper prints two decimals here.
"""

from bnonly.figures.needs import Need
from bnonly.figures.tables import counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

NEEDS = (Need("vgg", ("all",), files=()),)


def build(data: Results, counted: counts.Counts) -> Table:
    """Make the table."""
    title = "Appendix C.1: VGG specifications and parameters in each part of the network."
    return counts.build(data.panels, counted, title, ("Total", "BatchNorm", "Output"), decimals=2)
