"""Figure 1: accuracy with all parameters trainable, and with γ and β disabled (Section 1).

CIFAR-type ResNets by depth and by width, ImageNet-type ResNets by depth (top-1).  In the paper γ and β
are worth 0.5% to 2% on CIFAR-10 and 2% on ImageNet.
"""

from bnonly.figures.drawing.lines import SPELT_OUT, View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(Need(experiment, ("all", "all_noaffine")) for experiment in ("cifar-depth", "cifar-width", "imagenet"))


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    views = (
        View("cifar-depth", limits=(89, 96), fixed=True),
        View("cifar-width", limits=(89, 96), fixed=True),
        View("imagenet", "Top-1 Test Accuracy (%)", limits=(68, 80), fixed=True),
    )
    accuracy(sheet, data, views, columns=3, chance=False, words=SPELT_OUT)
