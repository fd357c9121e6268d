"""Figures with one point an architecture and regime, joined by lines: accuracy, small gammas, clamping, activations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnonly.datasets import DATASETS
from bnonly.figures.data import Architecture, Panel, Results, summary
from bnonly.figures.sheet import COLUMN, Sheet
from bnonly.figures.style import CHANCE, NOTE_SIZE, Style, of_regimes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer

#: The thresholds of Figures 5 and 6, with the share of white in the regime's colour, the dash and the marker.
THRESHOLDS: dict[float, tuple[float, Any, str]] = {
    0.01: (0.0, "-", "o"),
    0.05: (0.35, (0, (4, 1.4)), "s"),
    0.1: (0.6, (0, (1.2, 1)), "^"),
}
#: Percent: a panel with these limits always shows all of them, whatever the data.
WHOLE = (0.0, 100.0)


@dataclass(frozen=True)
class View:
    """One panel of accuracies.

    Attributes
    ----------
    experiment : str
        Whose.
    label : str
        Of the y axis.
    top : int
        1 or 5.
    limits : tuple of float
        The paper's y axis.
    """

    experiment: str
    label: str = "Test Accuracy (%)"
    top: int = 1
    limits: tuple[float, float] = WHOLE


#: Figures 2, 11, 12 and 14: depth, width, and ImageNet twice.
FOUR_VIEWS = (
    View("cifar-depth"),
    View("cifar-width"),
    View("imagenet", "Top-1 Test Accuracy (%)"),
    View("imagenet", "Top-5 Test Accuracy (%)", top=5),
)


def accuracy(sheet: Sheet, data: Results, views: Sequence[View], columns: int, chance: bool = True) -> None:
    """Draw final test accuracy against architecture, a line a regime.

    Parameters
    ----------
    sheet : Sheet
        Where.
    data : Results
        What.
    views : sequence of View
        The panels.
    columns : int
        Panels in a row.
    chance : bool
        Whether to draw the accuracy of guessing.
    """
    _grid(sheet, len(views), columns)
    guessing = None
    for ax, view in zip(sheet.axes, views, strict=True):
        panel = data.panel(view.experiment)
        points = _points(sheet, data, panel, data.accuracy(panel, view.top))
        _frame(ax, panel, points, view.label, view.limits)
        if chance:
            dotted: Any = (0, (1, 1.5))
            guessing = ax.axhline(panel.chance(view.top), color=CHANCE, linewidth=0.9, linestyle=dotted, zorder=1)
        _regimes(sheet, ax, data, panel, points)
    if guessing:
        sheet.entry("Chance", guessing)
    _share_labels(sheet, columns)


def disabled(sheet: Sheet, data: Results, label: str, limits: tuple[float, float]) -> None:
    """Draw the share of ReLU channels that are off, a line a regime (Figure 7)."""
    _grid(sheet, len(data.panels), len(data.panels))
    for ax, panel in zip(sheet.axes, data.panels, strict=True):
        points = _points(sheet, data, panel, data.disabled_activations(panel))
        _frame(ax, panel, points, label, limits)
        _regimes(sheet, ax, data, panel, points)
    _share_labels(sheet, len(data.panels))


def thresholds(
    sheet: Sheet,
    data: Results,
    quantity: Callable[[Panel, float], pd.DataFrame],
    labels: Mapping[str, str],
    limits: tuple[float, float],
) -> None:
    """Draw a quantity that depends on a threshold of gamma, a line a regime and threshold (Figures 5 and 6).

    Parameters
    ----------
    sheet : Sheet
        Where.
    data : Results
        What.
    quantity : callable
        `Results.small_gammas` or `Results.clamping_change`.
    labels : mapping of str to str
        Of each experiment's y axis.
    limits : tuple of float
        The paper's y axis.
    """
    import pandas as pd

    _grid(sheet, len(data.panels), len(data.panels))
    for ax, panel in zip(sheet.axes, data.panels, strict=True):
        by_threshold = {t: _points(sheet, data, panel, quantity(panel, t)) for t in THRESHOLDS}
        _frame(ax, panel, pd.concat(by_threshold.values()), labels[panel.experiment], limits)
        for regime, style in of_regimes(panel.regimes).items():
            for threshold, (white, dash, marker) in THRESHOLDS.items():
                points = by_threshold[threshold]
                points = points[points["regime"] == regime]
                tint = Style(style.lighter(white), marker, dash)
                sheet.entry(f"{data.labels[regime]}, |γ| < {threshold:g}", _line(ax, points, tint))
            mark_diverged(ax, points, style.color)
    _share_labels(sheet, len(data.panels))


def axis_title(panel: Panel) -> str:
    """Return a panel's title, which never passes other data off as those it names."""
    names = {info.title for info in DATASETS.values()} - {panel.dataset_title}
    if panel.dataset_title not in panel.title and any(name in panel.title for name in names):
        return f"{panel.title}, on {panel.dataset_title}"
    return panel.title


def ticks(architectures: Sequence[Architecture]) -> list[str]:
    """Return short labels for an x axis: the numbers at the end of the names, where these tell them apart.

    ``ResNet-14, ResNet-32`` become ``14, 32`` and ``WRN-14-1, WRN-14-2`` become ``14-1, 14-2``.
    """
    names = [a.label for a in architectures]
    found = [re.search(r"(?:^|[-\s])(\d+(?:-\d+)*)$", name) for name in names]
    short = [match.group(1) for match in found if match]
    return short if len(set(short)) == len(names) else names


def _grid(sheet: Sheet, count: int, columns: int) -> None:
    height = {1: 2.3, 2: 1.95}.get(columns, 1.75)
    sheet.grid(count, columns, 3.4 if columns == 1 else COLUMN, height)


def _points(sheet: Sheet, data: Results, panel: Panel, runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce runs to points with a place on the axis, and keep them for the CSV."""
    points = summary(runs)
    places = {a.name: i for i, a in enumerate(panel.architectures)}
    points.insert(2, "x", points["architecture"].map(places))
    record_points(sheet, data, panel, points)
    return points


def record_points(sheet: Sheet, data: Results, panel: Panel, points: pd.DataFrame) -> None:
    """Keep points for the CSV, and note what a reader must know of them."""
    labels = points["regime"].map(data.labels)
    sheet.record(points.assign(label=labels, title=panel.title, dataset=panel.dataset_title))
    missing = int((points["runs"] - points["n"]).sum())
    if missing:
        sheet.note(f"{axis_title(panel)}: {missing} values are not finite and are left out.")
    if (points["n"] == 1).any():
        sheet.note("A point without an error bar is a single run.")


def _regimes(sheet: Sheet, ax: Axes, data: Results, panel: Panel, points: pd.DataFrame) -> None:
    for regime, style in of_regimes(panel.regimes).items():
        of_regime = points[points["regime"] == regime]
        sheet.entry(data.labels[regime], _line(ax, of_regime, style))
        mark_diverged(ax, of_regime, style.color)


def _line(ax: Axes, points: pd.DataFrame, style: Style) -> ErrorbarContainer:
    """Draw points, their standard deviations and the line through them; the limits of the axes already fit them."""
    shown = points[points["n"] > 0]
    drawn = ax.errorbar(shown["x"], shown["mean"], yerr=shown["sd"], **style.line())
    for artist in drawn.get_children():
        artist.set_clip_on(False)  # a point on the frame (0 %, 100 %) is drawn whole
    return drawn


def mark_diverged(ax: Axes, points: pd.DataFrame, color: str) -> None:
    """Write at each point how many of its runs diverged: below it, or above where it is low in the panel."""
    from matplotlib.patheffects import withStroke

    low, high = ax.get_ylim()
    for point in points[(points["diverged"] > 0) & (points["n"] > 0)].to_dict("records"):
        above = point["mean"] < low + 0.3 * (high - low)
        ax.annotate(
            f"{point['diverged']}/{point['runs']}\ndiv.",
            (point["x"], point["mean"]),
            xytext=(0, 3.5 if above else -3.5),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=NOTE_SIZE,
            linespacing=0.9,
            color=color,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            zorder=5,
        )


def y_limits(points: pd.DataFrame, limits: tuple[float, float], paper_data: bool) -> tuple[float, float]:
    """Return the paper's limits where the data are the paper's and lie inside, limits of the data elsewhere."""
    shown = points[points["n"] > 0]
    if shown.empty:
        return limits
    low = float((shown["mean"] - shown["sd"].fillna(0.0)).min())
    high = float((shown["mean"] + shown["sd"].fillna(0.0)).max())
    if limits == WHOLE or (paper_data and limits[0] <= low and high <= limits[1]):
        return min(low, limits[0]), max(high, limits[1])
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad


def _frame(ax: Axes, panel: Panel, points: pd.DataFrame, label: str, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    ax.set_xlabel(axis_title(panel))
    ax.set_ylabel(label)
    ax.set_xticks(range(len(panel.architectures)), ticks(panel.architectures))
    ax.set_xlim(-0.5, len(panel.architectures) - 0.5)
    ax.xaxis.grid(False)
    ax.set_ylim(y_limits(points, limits, panel.paper_data))
    ax.yaxis.set_major_locator(MultipleLocator(20) if limits == WHOLE else MaxNLocator(8, steps=[1, 2, 5, 10]))


def _share_labels(sheet: Sheet, columns: int) -> None:
    """Drop a y label that repeats the one to its left."""
    for left, ax in reversed(list(zip(sheet.axes, sheet.axes[1:], strict=False))):
        same_row = sheet.axes.index(ax) % columns != 0
        if same_row and left.get_ylabel() == ax.get_ylabel():
            ax.set_ylabel("")
