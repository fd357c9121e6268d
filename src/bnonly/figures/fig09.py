"""Figure 9: accuracy of VGG networks with different sets of parameters trainable (Appendix C).

Figure 2 for networks without residual connections.
"""

from bnonly.figures.data import Results
from bnonly.figures.lines import View, accuracy
from bnonly.figures.request import Need
from bnonly.figures.sheet import Sheet

NEEDS = (Need("vgg", ("all", "bn", "rand2", "bn_out", "out")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, (View("vgg"),), columns=1)
