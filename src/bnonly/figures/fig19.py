"""Figure 19: the distributions of γ for the ImageNet-type ResNets (Appendix H).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.
"""

from functools import partial

from bnonly.figures.drawing.densities import GAMMA, family
from bnonly.figures.needs import Need

NEEDS = (Need("imagenet", ("all", "bn"), ("metrics", "batchnorm")),)
draw = partial(family, quantity=GAMMA)
