"""Accuracy against the number of trainable parameters: Figures 3 and 10."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnonly.figures.drawing.lines import mark_diverged, mark_stated, record_points, y_limits
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.drawing.style import GROWTH, of_regimes
from bnonly.figures.needs import Architecture, Panel
from bnonly.figures.values import Results, summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Y_LABEL = "Test Accuracy (%)"
#: Markers for many regimes in one panel.
MARKERS = "osD^v<>PX*ph"


@dataclass(frozen=True)
class Growth:
    """One series: an experiment whose architectures grow in depth, width or both.

    Attributes
    ----------
    experiment : str
        The experiment with the accuracies; its panel has one regime.
    label : str
        Label in the legend.
    style : str
        A key of `bnonly.figures.drawing.style.GROWTH`.
    joined : bool
        Whether a line joins the points.
    """

    experiment: str
    label: str
    style: str
    joined: bool = True


#: The series of Figures 3 and 10.
DEPTH = Growth("cifar-depth", "Increasing Depth", "depth")
WIDTH = Growth("cifar-width", "Increasing Width", "width")


@dataclass(frozen=True)
class Regression:
    """Least squares of accuracy on log2 of the parameter count.

    Attributes
    ----------
    n : int
        Number of points.
    slope : float
        Percentage points per doubling.
    intercept : float
        Value at one parameter.
    r, p : float
        Pearson's correlation, and its two-sided p value under the hypothesis of no correlation.
    """

    n: int
    slope: float
    intercept: float
    r: float
    p: float


def regress(counts: pd.Series, accuracies: pd.Series) -> Regression | None:
    """Regress accuracy on log2 of the count; return None with fewer than three points or a single count."""
    import numpy as np
    from scipy.stats import linregress

    if len(counts) < 3 or counts.nunique() < 2:
        return None
    if accuracies.nunique() == 1:  # no variance to explain: a level line without correlation
        return Regression(len(counts), 0.0, float(accuracies.iloc[0]), 0.0, 1.0)
    fit = linregress(np.log2(counts.to_numpy(dtype=float)), accuracies.to_numpy(dtype=float))
    return Regression(len(counts), float(fit.slope), float(fit.intercept), float(fit.rvalue), float(fit.pvalue))


def regressions(
    sheet: Sheet, data: Results, series: tuple[Growth, ...], label: str, limits: tuple[float, float]
) -> None:
    """Draw accuracies against BatchNorm's parameter count, with a regression line for each series (Figure 3).

    Parameters
    ----------
    sheet : Sheet
        The figure.
    data : Results
        Its results.
    series : tuple of Growth
        The series.
    label : str
        Label of the x axis.
    limits : tuple of float
        The paper's y axis.
    """
    import pandas as pd

    series = tuple(growth for growth in series if data.has(growth.experiment))
    ax, points = _axes(sheet, data, series, label, limits)
    for i, growth in enumerate(series):
        mine = points[growth.experiment]
        style = GROWTH[growth.style]
        look = {**style.line(), **_seen(i), "linestyle": "none"}
        line = ax.errorbar(mine["x"], mine["mean"], yerr=mine["sd"], **look)[0]
        fit = regress(mine["x"], mine["mean"])
        if fit is None:
            sheet.entry(f"{growth.label}: too few points for a regression", line)
            continue
        ends = [mine["x"].min(), mine["x"].max()]
        ax.plot(
            ends,
            [fit.intercept + fit.slope * math.log2(x) for x in ends],
            color=style.color,
            linestyle=style.dash,
            linewidth=0.9,
            alpha=0.75,
            zorder=2,
        )
        text = f"slope={fit.slope:.3f}   r={fit.r:.3f}   r²={fit.r**2:.3f}   p={fit.p:.2E}   n={fit.n}"
        sheet.entry(f"{growth.label}:   {text}".replace("-", "−"), line)
        row = {
            "panel": growth.experiment,
            "quantity": "regression",
            "n": fit.n,
            "slope": fit.slope,
            "intercept": fit.intercept,
            "r": fit.r,
            "r2": fit.r**2,
            "p": fit.p,
        }
        sheet.record(pd.DataFrame([row]))
    sheet.note("Slope in percentage points per doubling of the count, over the means; r is Pearson's.")


def comparison(
    sheet: Sheet, data: Results, series: tuple[Growth, ...], label: str, limits: tuple[float, float]
) -> None:
    """Draw the accuracies of several series against the number of trainable parameters (Figure 10)."""
    series = tuple(growth for growth in series if data.has(growth.experiment))
    ax, points = _axes(sheet, data, series, label, limits)
    for i, growth in enumerate(series):
        mine = points[growth.experiment].sort_values("x", kind="stable")
        look = GROWTH[growth.style].line() | _seen(i)
        if not growth.joined:
            look["linestyle"] = "none"
        sheet.entry(growth.label, ax.errorbar(mine["x"], mine["mean"], yerr=mine["sd"], **look)[0])


def _seen(i: int) -> dict[str, float]:
    """Return the size and order of a series' markers; both stay visible where series share a point (ResNet-14 is WRN-14-1)."""
    return {"markersize": 3.6 + 1.3 * i, "zorder": 4 - 0.1 * i}


def _axes(
    sheet: Sheet, data: Results, series: tuple[Growth, ...], label: str, limits: tuple[float, float]
) -> tuple[Axes, dict[str, pd.DataFrame]]:
    """Set up the only panel; return it with the finite points of every series."""
    import pandas as pd
    from matplotlib.ticker import FuncFormatter, NullLocator

    (ax,) = sheet.grid(1, 1, 4.6, 2.7)
    panels = {growth.experiment: data.panel(growth.experiment) for growth in series}
    points = {name: _points(sheet, data, panel) for name, panel in panels.items()}
    everything = pd.concat(points.values(), ignore_index=True)
    ax.set_xscale("log", base=2)
    ax.set_xlabel(label)
    ax.set_ylabel(Y_LABEL)
    if not everything.empty:
        # Leave half a doubling on either side.
        ax.set_xlim(everything["x"].min() / 2**0.5, everything["x"].max() * 2**0.5)
    ax.set_ylim(y_limits(everything, limits, all(p.paper_data for p in panels.values())))
    # Ticks at 500, 1000, 2000, ...: doublings of 125, which include one thousand.
    low, high = ax.get_xlim()
    doublings = range(math.ceil(math.log2(low / 125)), math.floor(math.log2(high / 125)) + 1)
    ax.set_xticks([125 * 2.0**k for k in doublings])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count / 1000:g}"))
    for growth in series:
        mine = points[growth.experiment]
        styles = dict.fromkeys(mine["regime"], GROWTH[growth.style])
        mark_diverged(ax, mine, styles)
        places = dict(zip(mine["architecture"], mine["x"], strict=True))
        stated = [s for s in data.stated(panels[growth.experiment], "top1") if s.architecture in places]
        mark_stated(sheet, ax, stated, places, styles)
    return ax, points


def _points(sheet: Sheet, data: Results, panel: Panel) -> pd.DataFrame:
    (regime,) = panel.regimes
    points = summary(data.accuracy(panel))
    counts = {a.name: data.parameters(panel, a, regime)["trainable"] for a in panel.architectures}
    points.insert(2, "x", points["architecture"].map(counts))
    record_points(sheet, data, panel, points)
    return points[points["n"] > 0]


def by_regime(sheet: Sheet, data: Results, x: Callable[[Panel, Architecture, str], float], label: str) -> pd.DataFrame:
    """Draw the accuracy of every network and regime against a quantity of theirs; return the points."""
    import pandas as pd
    from matplotlib.ticker import FuncFormatter, NullFormatter

    (ax,) = sheet.grid(1, 1, 4.6, 2.9)
    found = []
    for panel in data.panels:
        points = summary(data.accuracy(panel))
        by_name = {a.name: a for a in panel.architectures}
        values = [x(panel, by_name[a], r) for a, r in zip(points["architecture"], points["regime"], strict=True)]
        points.insert(2, "x", values)
        record_points(sheet, data, panel, points)
        found.append(points[points["n"] > 0])
    everything = pd.concat(found, ignore_index=True)
    for (regime, style), marker in zip(of_regimes(list(data.labels)).items(), itertools.cycle(MARKERS), strict=False):
        mine = everything[everything["regime"] == regime]
        look = {**style.line(), "linestyle": "none", "marker": marker}
        sheet.entry(data.labels[regime], ax.errorbar(mine["x"], mine["mean"], yerr=mine["sd"], **look)[0])
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(label)
    ax.set_ylabel(Y_LABEL)
    ax.set_ylim(0, 100)
    return everything
