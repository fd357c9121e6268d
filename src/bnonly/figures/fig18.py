"""Figure 18: the distributions of β for the wide CIFAR-type ResNets (Appendix H).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.
"""

from functools import partial

from bnonly.figures.drawing.densities import BETA, family
from bnonly.figures.needs import Need

NEEDS = (Need("cifar-width", ("all", "bn"), ("metrics", "batchnorm")),)
draw = partial(family, quantity=BETA)
