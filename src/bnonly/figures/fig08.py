"""Figure 8: accuracy of VGG networks with all parameters trainable, and with γ and β disabled (Appendix C).

Figure 1 for networks without residual connections, where γ and β make no difference in the paper.
"""

from bnonly.figures.drawing.lines import SPELT_OUT, View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (Need("vgg", ("all", "all_noaffine")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, (View("vgg", limits=(89, 96), fixed=True),), columns=1, chance=False, words=SPELT_OUT)
