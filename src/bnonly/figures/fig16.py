"""Figure 16: the distributions of β for the deep CIFAR-type ResNets (Appendix H).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.
"""

from functools import partial

from bnonly.figures.drawing.densities import BETA, family
from bnonly.figures.needs import Need

NEEDS = (Need("cifar-depth", ("all", "bn"), ("metrics", "batchnorm")),)
draw = partial(family, quantity=BETA)
