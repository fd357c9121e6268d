"""Figure 6: accuracy change when clamping γ values below 0.01, 0.05 and 0.1 to 0 (Section 5).

In percentage points against the unclamped network.  In the paper, clamping below 0.01 changes nothing:
such features are disabled.
"""

from bnonly.figures.drawing.lines import View, thresholds
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "clamping"))
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    labels = {"imagenet": "Change in Top-1 Accuracy (%)"}
    views = [
        View(panel.experiment, labels.get(panel.experiment, "Change in Accuracy (%)"), limits=(-8, 0))
        for panel in data.panels
    ]
    thresholds(sheet, data, data.clamping_change, "clamping_change", views, "|γ| < {}")
