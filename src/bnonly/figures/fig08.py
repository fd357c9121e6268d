"""Figure 8: accuracy of VGG networks with all parameters trainable, and with γ and β disabled (Appendix C).

Figure 1 for networks without residual connections, where γ and β make no difference in the paper.
"""

from functools import partial

from bnonly.figures.drawing.lines import SPELT_OUT, View, accuracy
from bnonly.figures.needs import Need

NEEDS = (Need("vgg", ("all", "all_noaffine")),)
draw = partial(accuracy, views=(View("vgg", limits=(89, 96), fixed=True),), columns=1, chance=False, words=SPELT_OUT)
