"""Figure 13: accuracy when training 2, 4, 8 or 16 random parameters per channel (Appendix F).

On CIFAR-10 only.  Two of them are as many as BatchNorm's; in the paper it takes 8 to 16 to match its accuracy.
"""

from bnonly.figures.data import Results
from bnonly.figures.lines import View, accuracy
from bnonly.figures.request import Need
from bnonly.figures.sheet import Sheet

NEEDS = tuple(
    Need(experiment, ("all", "bn", "rand2", "rand4", "rand8", "rand16"))
    for experiment in ("cifar-depth", "cifar-width")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, (View("cifar-depth"), View("cifar-width")), columns=2)
