"""Table of Appendix B.2: blocks per group of the ImageNet-type ResNets.

Taken from `bnonly.grid.families.imagenet_resnet`; `bnonly.networks` builds the networks from the same numbers.
"""

from bnonly.figures.needs import Need
from bnonly.figures.tables.counts import Counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results
from bnonly.grid.families.imagenet_resnet import BLOCKS

NEEDS = (Need("imagenet", ("all",), files=()),)


def build(data: Results, counted: Counts) -> Table:
    """Make the table."""
    (panel,) = data.panels
    blocks = {a: BLOCKS[a.depth] for a in panel.architectures}
    return Table(
        title="Appendix B.2: blocks in each group of the ImageNet-type ResNets.",
        columns=["Name", "Block", "N1", "N2", "N3", "N4"],
        rows=[[panel.short_name(a), kind, *map(str, groups)] for a, (kind, groups) in blocks.items()],
        exact_columns=["architecture", "block", "N1", "N2", "N3", "N4"],
        exact_rows=[[a.name, kind, *groups] for a, (kind, groups) in blocks.items()],
    )
