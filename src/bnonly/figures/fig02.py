"""Figure 2: accuracy of ResNets with different sets of parameters trainable (Section 4).

CIFAR-type ResNets by depth and by width above, ImageNet-type ResNets below, top-1 and top-5.
"""

from functools import partial

from bnonly.figures.drawing.lines import FOUR_VIEWS, accuracy
from bnonly.figures.needs import Need

NEEDS = tuple(
    Need(experiment, ("all", "bn", "rand2", "bn_out", "out"), also=True)
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)
draw = partial(accuracy, views=FOUR_VIEWS, columns=2)
