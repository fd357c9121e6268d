"""Figure 3: BatchNorm parameter count and accuracy when scaling depth and width (Section 4).

Training only BatchNorm in CIFAR-type ResNets.  A regression line each, over the means: slope for a doubling of the
count, Pearson's r, r² and p.  What the paper prints as r² fits its p values only as r.
"""

from bnonly.figures.drawing.scatter import DEPTH, WIDTH, regressions
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (
    Need("cifar-depth", ("bn",)),
    Need("cifar-width", ("bn",)),
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    regressions(sheet, data, (DEPTH, WIDTH), "Thousands of BatchNorm Parameters (log scale)", limits=(45, 85))
