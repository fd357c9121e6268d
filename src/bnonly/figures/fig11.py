"""Figure 11: accuracy with the original and an alternate BatchNorm initialization (Appendix E.2).

γ ~ U[0, 1], β = 0 against γ = 1, β = 1.  In the paper, with all parameters
trainable, the alternate one makes many deep networks fail.
"""

from bnonly.figures.drawing.lines import FOUR_VIEWS, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "all_alt", "bn", "bn_alt")) for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, FOUR_VIEWS, columns=2)
