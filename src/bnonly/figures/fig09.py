"""Figure 9: accuracy of VGG networks with different sets of parameters trainable (Appendix C).

Figure 2 for networks without residual connections.
"""

from bnonly.figures.drawing.lines import View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (Need("vgg", ("all", "bn", "rand2", "bn_out", "out")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, (View("vgg"),), columns=1)
