"""Beyond the paper: learning curves of the case studies by regime.

Test accuracy after every epoch, mean over replicates; the band is one standard deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnonly.figures.drawing.sheet import COLUMN, Sheet
from bnonly.figures.drawing.style import of_regimes
from bnonly.figures.needs import Architecture, Need, Panel
from bnonly.figures.values import Results

if TYPE_CHECKING:
    import pandas as pd

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
        for regime, style in of_regimes(panel.regimes).items():
            curve = _curve(data, panel, architecture, regime)
            line = ax.plot(curve["epoch"], curve["mean"], color=style.color, linestyle=style.dash)[0]
            sd = curve["sd"].fillna(0.0)
            ax.fill_between(curve["epoch"], curve["mean"] - sd, curve["mean"] + sd, color=style.color, alpha=0.2, lw=0)
            sheet.entry(data.labels[regime], line)
            sheet.record(curve)
            if len(curve):
                soon = curve.loc[curve["mean"] >= 0.95 * curve["mean"].iloc[-1], "epoch"].iloc[0]
                reached.append(f"{data.labels[regime]} {soon:g}")
        ax.set_title(f"{panel.short_name(architecture)} for {panel.dataset_title}")
        ax.set_xlabel("Epoch")
        ax.locator_params(axis="x", integer=True)
        ax.set_ylabel("Test Accuracy (%)")
        ax.set_ylim(0, 100)
        sheet.find(f"{architecture.label}: epochs until 95% of the final accuracy: {', '.join(reached)}.")


def _curve(data: Results, panel: Panel, architecture: Architecture, regime: str) -> pd.DataFrame:
    import pandas as pd

    runs = [data.table("metrics", panel, key)[0] for key in panel.replicates(architecture, regime)]
    frame = pd.concat([run.select(["epoch", "test_top1"]).to_pandas() for run in runs])
    points = frame.assign(value=100 * frame["test_top1"]).groupby("epoch")["value"]
    curve = points.agg(mean="mean", sd="std", n="count").reset_index()
    names = {"panel": panel.experiment, "architecture": architecture.name, "regime": regime, "quantity": "test_top1"}
    return curve.assign(
        **names,
        runs=len(runs),
        diverged=sum(data.has_diverged(panel, k) for k in panel.replicates(architecture, regime)),
    )
