"""Learning curves: a metric after every epoch, a line for each regime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.drawing.style import of_regimes
from bnonly.figures.needs import Architecture, Panel
from bnonly.figures.values import Results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def curves(
    sheet: Sheet, ax: Axes, data: Results, place: tuple[Panel, Architecture], column: str = "test_top1"
) -> dict[str, pd.DataFrame]:
    """Draw a metric after every epoch: the mean over replicates, with a band of one standard deviation.

    Parameters
    ----------
    sheet : Sheet
        The figure.
    ax : matplotlib.axes.Axes
        The panel.
    data : Results
        Its results.
    place : (Panel, Architecture)
        The cells, a line for each regime.
    column : str
        A column of the metrics; accuracies are drawn in percent.

    Returns
    -------
    dict
        The curve of each regime: epoch, mean, sd and n, where n > 0.
    """
    panel, architecture = place
    found = {}
    for regime, style in of_regimes(panel.regimes).items():
        found[regime] = curve = _curve(data, panel, architecture, regime, column)
        line = ax.plot(curve["epoch"], curve["mean"], color=style.color, linestyle=style.dash)[0]
        sd = curve["sd"].fillna(0.0)
        ax.fill_between(curve["epoch"], curve["mean"] - sd, curve["mean"] + sd, color=style.color, alpha=0.2, lw=0)
        sheet.entry(data.labels[regime], line)
        sheet.record(curve)
    ax.set_xlabel("Epoch")
    ax.locator_params(axis="x", integer=True)
    return found


def _curve(data: Results, panel: Panel, architecture: Architecture, regime: str, column: str) -> pd.DataFrame:
    import pandas as pd

    runs = [data.table("metrics", panel, key)[0] for key in panel.replicates(architecture, regime)]
    frame = pd.concat([run.select(["epoch", column]).to_pandas() for run in runs])
    points = frame.assign(value=frame[column] * (100 if "_top" in column else 1)).groupby("epoch")["value"]
    curve = points.agg(mean="mean", sd="std", n="count").reset_index()
    names = {"panel": panel.experiment, "architecture": architecture.name, "regime": regime, "quantity": column}
    return curve[curve["n"] > 0].assign(
        **names,
        runs=len(runs),
        diverged=sum(data.has_diverged(panel, k) for k in panel.replicates(architecture, regime)),
    )
