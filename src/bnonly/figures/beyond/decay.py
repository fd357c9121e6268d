"""Beyond the paper: the distribution of γ when BatchNorm trains alone, with and without weight decay.

The figure tests whether the spike at zero also appears when nothing pulls γ towards zero.
"""

from bnonly.figures.drawing.densities import GAMMA, family
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results, summary
from bnonly.grid.thresholds import SMALL

NEEDS = (Need("beyond-decay", ("bn", "bn_no_decay"), ("metrics", "batchnorm")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    family(sheet, data, GAMMA)
    (panel,) = data.panels
    small = summary(data.small_gammas(panel, SMALL[0])).groupby("regime", sort=False)["mean"].mean()
    accurate = summary(data.accuracy(panel)).groupby("regime", sort=False)["mean"].mean()
    said = [
        f"{data.labels[r]}: {small[r]:.1f}% of |γ| below {SMALL[0]:g}, accuracy {accurate[r]:.1f}%" for r in small.index
    ]
    sheet.find(f"Mean over the networks. {'. '.join(said)}.")
