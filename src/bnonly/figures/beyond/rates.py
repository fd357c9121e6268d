"""Beyond the paper: is the comparison fair? Learning rates from 0.01 to 1, with and without weight decay.

One network.  The paper uses one learning rate and one weight decay, chosen for training all parameters.
"""

from typing import Any

from bnonly.figures.drawing.lines import View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results, summary

REGIMES = ("bn", "rand2", "bn_out", "out")
NEEDS = (Need("beyond-rates", REGIMES), Need("beyond-rates-no-decay", REGIMES))


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, tuple(View(panel.experiment) for panel in data.panels), columns=2)
    labels = {
        (p.experiment, a.name): f"rate {a.label}{', no weight decay' if p.experiment.endswith('no-decay') else ''}"
        for p in data.panels
        for a in p.architectures
    }
    best: dict[str, Any] = {}
    for panel in data.panels:
        for point in summary(data.accuracy(panel)).to_dict("records"):
            regime = point["regime"]
            if point["n"] and (regime not in best or point["mean"] > best[regime]["mean"]):
                best[regime] = point
    said = [
        f"{data.labels[regime]} {point['mean']:.1f}% ({labels[point['panel'], point['architecture']]})"
        for regime, point in best.items()
    ]
    sheet.find(f"Each at its best setting: {', '.join(said)}.")
