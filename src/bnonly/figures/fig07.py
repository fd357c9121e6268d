"""Figure 7: fraction of ReLU activations with Pr[activation = 0] > 0.99 (Section 5).

Over all test images and pixels, with all parameters trainable and with BatchNorm alone.  In the
paper the latter disables about a third.
"""

from functools import partial

from bnonly.figures.drawing.lines import disabled
from bnonly.figures.needs import Need

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "activations"))
    for experiment in ("cifar-depth", "cifar-width", "imagenet")
)
draw = partial(disabled, label="% of Activations Disabled", limits=(0, 45))
