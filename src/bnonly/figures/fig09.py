"""Figure 9: accuracy of VGG networks with different sets of parameters trainable (Appendix C).

Figure 2 for networks without residual connections.
"""

from functools import partial

from bnonly.figures.drawing.lines import View, accuracy
from bnonly.figures.needs import Need

NEEDS = (Need("vgg", ("all", "bn", "rand2", "bn_out", "out")),)
draw = partial(accuracy, views=(View("vgg"),), columns=1)
