"""Figure 10: training only BatchNorm against training all parameters of small ResNets (Appendix D).

By the number of trainable parameters.  In the paper the small networks form two strata:
narrow and deep below, wider and shallow above.
"""

from bnonly.figures.drawing.scatter import DEPTH, WIDTH, Growth, comparison
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = (
    Need("cifar-depth", ("bn",)),
    Need("cifar-width", ("bn",)),
    Need("small", ("all",)),
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    small = Growth("small", "Small, Trainable ResNets", "small", joined=False)
    comparison(sheet, data, (DEPTH, WIDTH, small), "Thousands of Trainable Parameters (log scale)", limits=(45, 85))
