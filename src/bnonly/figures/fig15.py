"""Figure 15: the distributions of γ for the deep CIFAR-type ResNets (Appendix H).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.
"""

from bnonly.figures.drawing.densities import GAMMA, family
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (Need("cifar-depth", ("all", "bn"), ("metrics", "batchnorm")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    family(sheet, data, GAMMA)
