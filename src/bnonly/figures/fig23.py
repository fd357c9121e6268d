"""Figure 23: histograms of Pr[activation = 0] of each ReLU channel for the deep CIFAR-type ResNets (Appendix I).

Over all test images and pixels, pooled over replicates.  In the paper, with BatchNorm alone, many
channels are always off or always on.
"""

from functools import partial

from bnonly.figures.drawing.densities import ZERO, family
from bnonly.figures.needs import Need

NEEDS = (Need("cifar-depth", ("all", "bn"), ("metrics", "activations")),)
draw = partial(family, quantity=ZERO)
