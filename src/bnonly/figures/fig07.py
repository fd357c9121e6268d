"""Figure 7: fraction of ReLU activations with Pr[activation = 0] > 0.99 (Section 5).

Over all test images and pixels, with all parameters trainable and with BatchNorm alone.  In the
paper the latter disables about a third.
"""

from bnonly.figures.drawing.lines import disabled
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "activations"))
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    disabled(sheet, data, "% of Activations Disabled", limits=(0, 45))
