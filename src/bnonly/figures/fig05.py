"""Figure 5: fraction of γ parameters with |γ| below 0.01, 0.05 and 0.1 (Section 5).

Computed for each run, then averaged over replicates, with all parameters trainable and with BatchNorm alone.
"""

from bnonly.figures.drawing.lines import View, thresholds
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "batchnorm"))
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    views = [View(panel.experiment, "Fraction of |γ| < t (%)", limits=(0, 70)) for panel in data.panels]
    thresholds(sheet, data, data.small_gammas, "small_gammas", views, "t={}")
