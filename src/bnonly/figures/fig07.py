"""Figure 7: fraction of ReLU activations with Pr[activation = 0] > 0.99 (Section 5).

Over all test images and pixels, with all parameters trainable and with BatchNorm alone.  In the
paper the latter disables about a third.
"""

from bnonly.figures.data import Results
from bnonly.figures.lines import disabled
from bnonly.figures.request import Need
from bnonly.figures.sheet import Sheet

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "activations"))
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    disabled(sheet, data, "% of Activations Disabled", limits=(0, 45))
