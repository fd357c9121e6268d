"""Figure 14: accuracy with two random parameters per channel and the output layer trainable (Appendix F).

CIFAR-type ResNets by depth and by width above, ImageNet-type ResNets below, top-1 and top-5.
"""

from functools import partial

from bnonly.figures.drawing.lines import FOUR_VIEWS, accuracy
from bnonly.figures.needs import Need

NEEDS = tuple(
    Need(experiment, ("all", "bn", "bn_out", "rand2_out")) for experiment in ("cifar-depth", "cifar-width", "imagenet")
)
draw = partial(accuracy, views=FOUR_VIEWS, columns=2)
