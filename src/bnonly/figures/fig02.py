"""Figure 2: accuracy of ResNets with different sets of parameters trainable (Section 4).

CIFAR-type ResNets by depth and by width above, ImageNet-type ResNets below, top-1 and top-5.
"""

from bnonly.figures.drawing.lines import FOUR_VIEWS, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn", "rand2", "bn_out", "out"), also=True)
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, FOUR_VIEWS, columns=2)
