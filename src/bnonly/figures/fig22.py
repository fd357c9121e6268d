"""Figure 22: the distributions of β for the VGG networks (Appendix H).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.
"""

from functools import partial

from bnonly.figures.drawing.densities import BETA, family
from bnonly.figures.needs import Need

NEEDS = (Need("vgg", ("all", "bn"), ("metrics", "batchnorm")),)
draw = partial(family, quantity=BETA)
