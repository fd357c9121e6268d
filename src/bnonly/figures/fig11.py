"""Figure 11: accuracy with the original and an alternate BatchNorm initialization (Appendix E.2).

γ ~ U[0, 1], β = 0 against γ = 1, β = 1.  In the paper, with all parameters
trainable, the alternate one makes many deep networks fail.
"""

from functools import partial

from bnonly.figures.drawing.lines import FOUR_VIEWS, accuracy
from bnonly.figures.needs import Need

NEEDS = tuple(
    Need(experiment, ("all", "all_alt", "bn", "bn_alt")) for experiment in ("cifar-depth", "cifar-width", "imagenet")
)
draw = partial(accuracy, views=FOUR_VIEWS, columns=2)
