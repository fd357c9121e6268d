"""Figure 3: BatchNorm parameter count and accuracy when scaling depth and width (Section 4).

Training only BatchNorm in CIFAR-type ResNets.  Each regression line uses the means and has a slope per doubling of the
count, Pearson's r, r² and p.  The paper's r² values agree with its p values only if they are r.
"""

from functools import partial

from bnonly.figures.drawing.scatter import DEPTH, WIDTH, regressions
from bnonly.figures.needs import Need

NEEDS = (
    Need("cifar-depth", ("bn",)),
    Need("cifar-width", ("bn",)),
)
draw = partial(
    regressions, series=(DEPTH, WIDTH), label="Thousands of BatchNorm Parameters (log scale)", limits=(45, 85)
)
