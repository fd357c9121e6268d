"""Figure 24: histograms of Pr[activation = 0] of each ReLU channel for the wide CIFAR-type ResNets (Appendix I).

Over all test images and pixels, pooled over replicates.  In the paper, with BatchNorm alone, many
channels are always off or always on.
"""

from bnonly.figures.drawing.densities import ZERO, family
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (Need("cifar-width", ("all", "bn"), ("metrics", "activations")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    family(sheet, data, ZERO)
