"""Beyond the paper: learning curves of the case studies by regime.

Test accuracy after every epoch, mean over replicates; the band is one standard deviation.
"""

from __future__ import annotations

from bnonly.figures.drawing.curves import curves
from bnonly.figures.drawing.sheet import COLUMN, Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn", "rand2", "bn_out", "out"), case_study=True)
    for experiment in ("cifar-depth", "imagenet")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    shown = [(panel, architecture) for panel in data.panels for architecture in panel.architectures]
    sheet.grid(len(shown), len(shown), COLUMN if len(shown) > 1 else 3.4, 2.1)
    for ax, (panel, architecture) in zip(sheet.axes, shown, strict=True):
        reached = []
        for regime, curve in curves(sheet, ax, data, (panel, architecture)).items():
            if len(curve):
                soon = curve.loc[curve["mean"] >= 0.95 * curve["mean"].iloc[-1], "epoch"].iloc[0]
                reached.append(f"{data.labels[regime]} {soon:g}")
        ax.set_title(f"{panel.short_name(architecture)} for {panel.dataset_title}")
        ax.set_ylabel("Test Accuracy (%)")
        ax.set_ylim(0, 100)
        sheet.find(f"{architecture.label}: epochs until 95% of the final accuracy: {', '.join(reached)}.")
