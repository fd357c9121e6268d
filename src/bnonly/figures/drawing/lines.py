"""Figures with a point for each architecture and regime, joined by lines: accuracy, small gammas, clamping, activations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bnonly.figures.drawing.sheet import COLUMN, Sheet
from bnonly.figures.drawing.style import CHANCE, SMALLEST, Style, of_regimes
from bnonly.figures.needs import Architecture, Panel
from bnonly.figures.values import Results, summary
from bnonly.grid.thresholds import SMALL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from bnonly.paper.catalog import Stated

#: The thresholds of Figures 5 and 6, each with its share of white in the regime's colour, its dash and its marker.
THRESHOLDS: dict[float, tuple[float, Any, str]] = dict(
    zip(SMALL, [(0.0, "-", "o"), (0.15, (0, (4, 1.4)), "s"), (0.3, (0, (1.2, 1)), "^")], strict=True)
)
#: The paper spells the labels out in Figures 1 and 8.
SPELT_OUT = {
    "All Params Trainable": "All Parameters Trainable",
    "All Params Trainable (γ and β Disabled)": "All Parameters Trainable (γ and β Disabled)",
}
#: In percent; a panel with these limits always shows all of them.
WHOLE = (0.0, 100.0)


@dataclass(frozen=True)
class View:
    """One panel of accuracies.

    Attributes
    ----------
    experiment : str
        Its experiment.
    label : str
        Label of the y axis.
    top : int
        1 for top-1 or 5 for top-5 accuracy.
    limits : tuple of float
        The paper's y axis, used if the data are the paper's and lie inside.  Panels that share an axis there share it here.
    fixed : bool
        Whether to keep the limits even if a few points lie outside; these become arrows at the edge.
    """

    experiment: str
    label: str = "Test Accuracy (%)"
    top: int = 1
    limits: tuple[float, float] = WHOLE
    fixed: bool = False


#: Figures 2, 11, 12 and 14: depth, width, and ImageNet twice.
FOUR_VIEWS = (
    View("cifar-depth"),
    View("cifar-width"),
    View("imagenet", "Top-1 Test Accuracy (%)"),
    View("imagenet", "Top-5 Test Accuracy (%)", top=5),
)


def accuracy(
    sheet: Sheet,
    data: Results,
    views: Sequence[View],
    columns: int,
    chance: bool = True,
    words: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Draw final test accuracy against architecture, with a line for each regime.

    Parameters
    ----------
    sheet : Sheet
        The figure.
    data : Results
        Its results.
    views : sequence of View
        The panels; those of experiments that the run omits are skipped.
    columns : int
        Panels in a row.
    chance : bool
        Whether to draw the accuracy of guessing.
    words : mapping of str to str
        The paper's legend for some labels, in one row if they fit; other labels stay unchanged.
    """
    views = [view for view in views if data.has(view.experiment)]
    columns = min(columns, len(views))
    panels = [data.panel(v.experiment) for v in views]
    _grid(sheet, panels, columns)
    shown = [
        _points(sheet, data, panel, data.accuracy(panel, view.top)) for panel, view in zip(panels, views, strict=True)
    ]
    _frames(sheet, panels, shown, views, columns)
    guessing = None
    for ax, view, panel, points in zip(sheet.axes, views, panels, shown, strict=True):
        if chance:
            dotted: Any = (0, (1, 1.5))
            guessing = ax.axhline(panel.chance(view.top), color=CHANCE, linewidth=0.9, linestyle=dotted, zorder=1)
        _regimes(sheet, ax, data, panel, points, words)
        stated = data.stated(panel, f"top{view.top}")
        mark_stated(sheet, ax, stated, _places(panel), of_regimes(panel.regimes))
    if guessing:
        sheet.entry("Chance", guessing)


def disabled(sheet: Sheet, data: Results, label: str, limits: tuple[float, float]) -> None:
    """Draw the share of ReLU channels that are off, with a line for each regime (Figure 7)."""
    count = len(data.panels)
    _grid(sheet, data.panels, count)
    shown = [_points(sheet, data, panel, data.disabled_activations(panel)) for panel in data.panels]
    _frames(sheet, data.panels, shown, [View(p.experiment, label, limits=limits) for p in data.panels], count)
    for ax, panel, points in zip(sheet.axes, data.panels, shown, strict=True):
        _regimes(sheet, ax, data, panel, points)
        stated = data.stated(panel, "disabled_activations")
        mark_stated(sheet, ax, stated, _places(panel), of_regimes(panel.regimes))


def thresholds(
    sheet: Sheet,
    data: Results,
    quantity: Callable[[Panel, float], pd.DataFrame],
    metric: str,
    views: Sequence[View],
    words: str,
) -> None:
    """Draw a quantity that depends on a threshold of gamma, with a line for each regime and threshold (Figures 5 and 6).

    Parameters
    ----------
    sheet : Sheet
        The figure.
    data : Results
        Its results.
    quantity : callable
        `Results.small_gammas` or `Results.clamping_change`.
    metric : str
        The claims' name for the quantity.
    views : sequence of View
        The y axis of each panel.
    words : str
        The legend's text for a threshold; {} stands for the threshold.
    """
    import pandas as pd

    count = len(data.panels)
    _grid(sheet, data.panels, count)
    shown = [{t: _points(sheet, data, panel, quantity(panel, t)) for t in THRESHOLDS} for panel in data.panels]
    all_points = [pd.concat(by_threshold.values()) for by_threshold in shown]
    series = [(regime, t) for regime in data.panels[0].regimes for t in THRESHOLDS]
    shifts = {one: _shift(i, len(series), 0.08) for i, one in enumerate(series)}
    _frames(sheet, data.panels, all_points, views, count)
    for ax, panel, by_threshold, everything in zip(sheet.axes, data.panels, shown, all_points, strict=True):
        for regime, style in of_regimes(panel.regimes).items():
            for threshold, (white, dash, marker) in THRESHOLDS.items():
                points = by_threshold[threshold]
                shift = shifts[regime, threshold]
                points = points[points["regime"] == regime]
                text = words.format(f"{threshold:g}")
                # The legend has one row for each regime; its first entry names the regime.
                label = text if white else f"{data.labels[regime]}, {text}"
                sheet.entry(label, _line(ax, points, Style(style.lighter(white), marker, dash), shift), group=regime)
        middle = everything["regime"].map({r: shifts[r, SMALL[len(SMALL) // 2]] for r in panel.regimes})
        mark_diverged(ax, everything.assign(x=everything["x"] + middle), of_regimes(panel.regimes))
        stated = [s for t in THRESHOLDS for s in data.stated(panel, metric, t)]
        mark_stated(sheet, ax, stated, _places(panel), of_regimes(panel.regimes))


def ticks(architectures: Sequence[Architecture]) -> list[str]:
    """Return short labels for an x axis: the numbers at the end of the names, if they are unique.

    ``ResNet-14, ResNet-32`` become ``14, 32`` and ``WRN-14-1, WRN-14-2`` become ``14-1, 14-2``.
    """
    names = [a.label for a in architectures]
    found = [re.search(r"(?:^|[-\s])(\d+(?:-\d+)*)$", name) for name in names]
    short = [match.group(1) for match in found if match]
    return short if len(set(short)) == len(names) else names


def _grid(sheet: Sheet, panels: Sequence[Panel], columns: int) -> None:
    """Lay out panels; three in a row share its width according to their tick labels."""
    if columns < 3:
        sheet.grid(len(panels), columns, 3.4 if columns == 1 else COLUMN, 2.3 if columns == 1 else 1.95)
        return
    letters = [sum(len(t) + 1 for t in ticks(p.architectures)) for p in panels]
    mean = sum(letters) / len(letters)
    sheet.grid(len(panels), columns, COLUMN, 1.75, [min(1.25, max(0.85, n / mean)) for n in letters])


def _points(sheet: Sheet, data: Results, panel: Panel, runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce runs to points with a position on the axis, and keep them for the CSV file."""
    points = summary(runs)
    points.insert(2, "x", points["architecture"].map(_places(panel)))
    record_points(sheet, data, panel, points)
    return points


def record_points(sheet: Sheet, data: Results, panel: Panel, points: pd.DataFrame) -> None:
    """Keep points for the CSV file, and add the notes that they need."""
    labels = points["regime"].map(data.labels)
    sheet.record(points.assign(label=labels, title=panel.title, dataset=panel.dataset_title))
    if (points["n"] < points["runs"]).any():
        sheet.lacking = True
    sheet.note(
        f"Mean ± one standard deviation of {data.runs}."
        if (points["runs"] > 1).any()
        else f"Each point is {data.runs}."
    )


def _regimes(
    sheet: Sheet,
    ax: Axes,
    data: Results,
    panel: Panel,
    points: pd.DataFrame,
    words: Mapping[str, str] = MappingProxyType({}),
) -> None:
    for i, (regime, style) in enumerate(of_regimes(panel.regimes).items()):
        label = data.labels[regime]
        line = _line(ax, points[points["regime"] == regime], style, _shift(i, len(panel.regimes)))
        sheet.entry(words.get(label, label), line, group="words" if label in words else "")
    places = points["regime"].map({r: _shift(i, len(panel.regimes)) for i, r in enumerate(panel.regimes)})
    mark_diverged(ax, points.assign(x=points["x"] + places), of_regimes(panel.regimes))


def _shift(i: int, count: int, step: float = 0.045) -> float:
    """Return the distance of a series from the tick, which keeps equal points of several series visible."""
    return (i - (count - 1) / 2) * step


def _line(ax: Axes, points: pd.DataFrame, style: Style, shift: float) -> Line2D:
    """Draw points, their standard deviations and the line through them; a point outside the axis is an arrow with its value."""
    shown = points[points["n"] > 0].assign(x=lambda found: found["x"] + shift)
    low, high = ax.get_ylim()
    inside = shown["mean"].between(low, high)
    outside = shown[~inside]
    line = ax.errorbar(shown["x"], shown["mean"], yerr=shown["sd"].where(inside), **style.line())[0]
    if len(shown) and outside.empty:  # an empty line without clipping has an endless extent
        line.set_clip_on(False)  # keeps a point on the frame (0%, 100%) whole
    for point in outside.to_dict("records"):
        below = point["mean"] < low
        place = (point["x"], low if below else high)
        left = point["x"] > sum(ax.get_xlim()) / 2
        ax.plot(*place, "v" if below else "^", color=style.color, markersize=5, clip_on=False, zorder=5)
        ax.annotate(
            f"{point['mean']:.1f}",
            place,
            xytext=(-4 if left else 4, 3 if below else -8),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=SMALLEST,
            color=style.ink(),
        )
    return line


def mark_diverged(ax: Axes, points: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Cross out each point with diverged runs, and write their number above the panel.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The panel.
    points : pandas.DataFrame
        Points with x, mean, regime, runs and diverged.
    styles : mapping of str to Style
        Styles of the regimes; each regime's counts are a line in its colour.
    """
    marked = points[(points["diverged"] > 0) & (points["n"] > 0)]
    if marked.empty:
        return
    low, high = ax.get_ylim()
    inside = marked[(marked["mean"] >= low) & (marked["mean"] <= high)]
    if len(inside):
        ax.plot(
            inside["x"], inside["mean"], "x", color="0.1", markersize=5.5, markeredgewidth=0.9, zorder=6, clip_on=False
        )
    counts = marked.drop_duplicates(["regime", "x"])
    crossed = [regime for regime in styles if (counts["regime"] == regime).any()]
    for row, regime in enumerate(reversed(crossed)):
        for point in counts[counts["regime"] == regime].to_dict("records"):
            ax.annotate(
                f"{point['diverged']}/{point['runs']}",
                (point["x"], 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3 + 7 * row),
                textcoords="offset points",
                ha="center",
                fontsize=SMALLEST,
                color=styles[regime].ink(),
            )


def mark_stated(
    sheet: Sheet,
    ax: Axes,
    stated: Sequence[Stated],
    places: Mapping[str, float],
    styles: Mapping[str, Style],
) -> None:
    """Mark the paper's values for some points, and keep them for the CSV file.

    Parameters
    ----------
    sheet : Sheet
        The figure, which gets a note on the mark.
    ax : matplotlib.axes.Axes
        The panel.
    stated : sequence of Stated
        Values from `Results.stated`.
    places : mapping
        Position of each architecture on the x axis.
    styles : mapping of str to Style
        Styles of the regimes.
    """
    import pandas as pd

    if not stated:
        return
    look: dict[str, Any] = {
        "linestyle": "none",
        "marker": "*",
        "markersize": 8,
        "markerfacecolor": "white",
        "zorder": 7,
    }
    for point in stated:
        color = styles[point.regime].ink()
        ax.plot(places[point.architecture], point.value, color=color, markeredgewidth=0.9, clip_on=False, **look)
    sheet.note("☆ A value that the paper states.")
    rows = [
        {
            "panel": s.experiment,
            "architecture": s.architecture,
            "x": places[s.architecture],
            "regime": s.regime,
            "quantity": f"stated {s.metric}" + (f"<{s.threshold:g}" if s.threshold else ""),
            "mean": s.value,
            "claim": s.claim,
        }
        for s in stated
    ]
    sheet.record(pd.DataFrame(rows))


def _places(panel: Panel) -> dict[str, float]:
    return {a.name: i for i, a in enumerate(panel.architectures)}


def y_limits(
    points: pd.DataFrame, limits: tuple[float, float], paper_data: bool, fixed: bool = False
) -> tuple[float, float]:
    """Return the paper's limits if the data are the paper's and lie inside; otherwise, limits of the data.

    An end at 0 is always shown.  Shares begin there, and a longer error bar is cut off; changes are measured from there.
    No limit exceeds 100 percent.  With `fixed`, limits stay if most means lie inside.
    """
    shown = points[points["n"] > 0]
    if shown.empty:
        return limits
    low, high = _extremes(shown)
    inside = shown["mean"].between(*limits).mean()
    if limits == WHOLE or (paper_data and ((limits[0] <= low and high <= limits[1]) or (fixed and inside > 0.5))):
        return limits
    # Show at least one percentage point; exceed the paper's limits only if the data need it.
    pad = max(0.08 * (high - low), (1.0 - (high - low)) / 2)
    bottom = max(low - pad, limits[0]) if low >= limits[0] else low - pad
    top = min(high + pad, limits[1]) if high <= limits[1] else high + pad
    return 0.0 if limits[0] == 0 else bottom, max(top, 0.0) if limits[1] == 0 else min(top, 100.0)


def _extremes(points: pd.DataFrame) -> tuple[float, float]:
    sd = points["sd"].fillna(0.0)
    return float((points["mean"] - sd).min()), float((points["mean"] + sd).max())


def _frames(
    sheet: Sheet, panels: Sequence[Panel], points: Sequence[pd.DataFrame], views: Sequence[View], columns: int
) -> None:
    """Set up the axes of all panels; panels with equal limits in the paper share theirs."""
    import pandas as pd

    for ax, panel, view in zip(sheet.axes, panels, views, strict=True):
        alike = [i for i, other in enumerate(views) if other.limits == view.limits]
        together = pd.concat([points[i] for i in alike])
        limits = y_limits(together, view.limits, all(panels[i].paper_data for i in alike), view.fixed)
        _frame(ax, panel, view, limits)
        _note_cut(sheet, together, view, limits)
    # Drop a label that repeats the one on its left.
    for i in reversed(range(1, len(panels))):
        if i % columns and (views[i - 1].label, views[i - 1].limits) == (views[i].label, views[i].limits):
            sheet.axes[i].set_ylabel("")


def _frame(ax: Axes, panel: Panel, view: View, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    ax.set_xlabel(panel.axis_title)
    ax.set_ylabel(view.label)
    ax.set_xticks(range(len(panel.architectures)), ticks(panel.architectures))
    ax.set_xlim(-0.5, len(panel.architectures) - 0.5)
    ax.xaxis.grid(False)
    ax.set_ylim(limits)
    ax.yaxis.set_major_locator(MultipleLocator(20) if view.limits == WHOLE else MaxNLocator(7, steps=[1, 2, 5, 10]))


def _note_cut(sheet: Sheet, points: pd.DataFrame, view: View, limits: tuple[float, float]) -> None:
    """Note the data that the limits of a panel cut off."""
    low, high = _extremes(points)
    means = points["mean"].dropna()
    if ((means < limits[0]) | (means > limits[1])).any():
        sheet.note("An arrow at the edge of a panel: a point outside its axis, with its value.")
    elif low < limits[0] or high > limits[1]:
        sheet.note(
            "Error bars are cut off at 0%."
            if view.limits[0] == 0 and high <= limits[1] < 100
            else "Error bars are cut off at the ends of the axis."
        )
