"""Figure 4: the distribution of γ for the case studies, ResNet-110 and ResNet-101 (Section 5).

Pooled over replicates, with all parameters trainable and with BatchNorm alone.  In the paper the latter
has a spike at zero.
"""

from functools import partial

from bnonly.figures.drawing.densities import GAMMA, case_studies
from bnonly.figures.needs import Need

NEEDS = tuple(
    Need(experiment, ("all", "bn"), ("metrics", "batchnorm"), case_study=True)
    for experiment in ("cifar-depth", "imagenet")
)
draw = partial(case_studies, quantity=GAMMA)
