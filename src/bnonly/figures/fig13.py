"""Figure 13: accuracy when training 2, 4, 8 or 16 random parameters per channel (Appendix F).

CIFAR-type ResNets only.  Two random parameters equal BatchNorm's number; in the paper, 8 to 16 match its accuracy.
"""

from bnonly.figures.drawing.lines import View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn", "rand2", "rand4", "rand8", "rand16"))
    for experiment in ("cifar-depth", "cifar-width")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    # As in the paper, the first label names all four.
    words = {f"{k} Random Params Per Channel": f"{k}" for k in (4, 8, 16)}
    words["2 Random Params Per Channel"] = "Random Params per Channel: 2"
    accuracy(sheet, data, (View("cifar-depth"), View("cifar-width")), columns=2, words=words)
