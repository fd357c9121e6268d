"""First table of Appendix C.1: the configuration of the VGG networks.

Channels of each layer, M for a max-pool of stride 2, taken from `bnonly.grid.families.vgg`.
"""

from bnonly.figures.needs import Architecture, Need
from bnonly.figures.tables.counts import Counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results
from bnonly.grid.families.vgg import LAYERS

NEEDS = (Need("vgg", ("all",), files=()),)


def build(data: Results, counted: Counts) -> Table:
    """Make the table."""
    (panel,) = data.panels
    return Table(
        title="Appendix C.1: configurations of the VGG networks.",
        columns=["Name", "Configuration"],
        rows=[[a.label, _configuration(a)] for a in panel.architectures],
        exact_columns=["architecture", "configuration"],
        exact_rows=[[a.name, _configuration(a)] for a in panel.architectures],
    )


def _configuration(architecture: Architecture) -> str:
    layers = LAYERS[architecture.depth]
    return ", ".join(str(layer * architecture.channels) if isinstance(layer, int) else layer for layer in layers)
