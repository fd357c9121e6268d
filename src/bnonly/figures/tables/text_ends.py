"""Figure 1 read otherwise, at the ends of depth and width: γ and β frozen at their random start instead of set to 1 and 0.

The freezing switch of the authors' framework does the same.
"""

from bnonly.figures.tables import comparisons
from bnonly.figures.tables.counts import Counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

#: Regime, its original, and the paper's statement about it.
COMPARISONS = (
    ("all_affine_frozen", "all", "Figures 1 and 8: 0.5% to 2% lower on CIFAR-10, 2% on ImageNet, the same for VGG"),
    ("all_affine_frozen", "all_noaffine", "The two readings of “disabled”"),
)
#: The experiment with the regime, and the one with its original.
EXPERIMENTS = (("ends", "cifar-depth"), ("ends", "cifar-width"), ("ends", "vgg"), ("ends-imagenet", "imagenet"))
NEEDS = comparisons.needs(EXPERIMENTS, COMPARISONS)


def build(data: Results, counted: Counts) -> Table:
    """Make the table."""
    title = "Figure 1 read otherwise: final test accuracy in percent, mean ± standard deviation."
    return comparisons.build(data, EXPERIMENTS, COMPARISONS, title)
