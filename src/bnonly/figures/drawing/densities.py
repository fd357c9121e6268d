"""Histograms of channel values, one panel for each architecture: Figures 4, 15-22 (gamma, beta) and 23-25 (activations)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnonly.figures.drawing.axes import PAPER_AXES
from bnonly.figures.drawing.sheet import COLUMN, PAGE, Sheet
from bnonly.figures.drawing.style import SMALLEST, of_regimes
from bnonly.figures.needs import Architecture, Panel
from bnonly.figures.values import Pooled, Results

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Quantity:
    """The quantity of a histogram.

    Attributes
    ----------
    kind, column : str
        The file of a cell, and its column.
    heading : str
        Text above the figure.
    label : str
        Label of the x axis.
    unit_range : bool
        Whether the values lie in [0, 1]; otherwise the axis follows the data.
    """

    kind: str
    column: str
    heading: str
    label: str
    unit_range: bool = False


GAMMA = Quantity("batchnorm", "gamma_end", "Distribution of γ", "Value")
BETA = Quantity("batchnorm", "beta_end", "Distribution of β", "Value")
ZERO = Quantity("activations", "zero", "Histogram of Pr[activation = 0]", "Pr[activation = 0]", unit_range=True)

#: Largest number of bins, and the smallest average number of values per bin.
BINS, VALUES_A_BIN = 60, 8
UNIT_BINS = 20
#: Share of each regime's values that may lie beyond the axis if a few are far away.
TAIL = 0.005
#: The paper's axis is kept if at most this share of each regime's values lies outside it.
MOST_OUTSIDE = 0.1


def case_studies(sheet: Sheet, data: Results, quantity: Quantity) -> None:
    """Draw one panel for each case study (Figure 4)."""
    shown = [(panel, architecture) for panel in data.panels for architecture in panel.architectures]
    titles = [f"{panel.short_name(architecture)} for {panel.dataset_title}" for panel, architecture in shown]
    sheet.grid(len(shown), len(shown), COLUMN if len(shown) > 1 else 3.4, 1.95)
    sheet.heading(quantity.heading)
    _panels(sheet, data, quantity, shown, titles, columns=len(shown))


def family(sheet: Sheet, data: Results, quantity: Quantity) -> None:
    """Draw one panel for each architecture of the figure's only experiment (Figures 15-25)."""
    (panel,) = data.panels
    count = len(panel.architectures)
    columns = {1: 1, 2: 2, 4: 2, 7: 4, 8: 4}.get(count, 3 if count < 9 else 4)
    width = {1: 3.4, 2: COLUMN}.get(columns, PAGE)
    sheet.grid(count, columns, width, 1.75 if count <= columns else 1.55)
    sheet.heading(f"{quantity.heading} for {panel.dataset_title}")
    titles = [panel.short_name(architecture) for architecture in panel.architectures]
    _panels(sheet, data, quantity, [(panel, a) for a in panel.architectures], titles, columns)


def bin_edges(samples: list[np.ndarray]) -> np.ndarray:
    """Return equal bins for all samples together, with one bin centred on zero.

    A spike at zero is then one bin, not two halves.  The bins span all values.  If the outermost values would squeeze
    the distribution into a corner, the bins omit `TAIL` of each sample at either end.

    Parameters
    ----------
    samples : list of numpy.ndarray
        Finite values; empty samples are skipped.
    """
    import numpy as np

    samples = [s for s in samples if s.size]
    if not samples:
        return np.array([-0.5, 0.5])
    low, high = min(s.min() for s in samples), max(s.max() for s in samples)
    inner = [np.quantile(s, [TAIL, 1 - TAIL]) for s in samples]
    inner_low, inner_high = min(q[0] for q in inner), max(q[1] for q in inner)
    if high - low > 1.6 * (inner_high - inner_low) and inner_high > inner_low:
        low, high = inner_low, inner_high
    if high - low < 1e-6:  # a constant
        low, high = low - 0.5, high + 0.5
    return _bins(low, high, max(s.size for s in samples))


def _bins(low: float, high: float, values: int) -> np.ndarray:
    """Return the edges of equal bins over a range; more values allow more bins."""
    import numpy as np

    width = (high - low) / min(BINS, max(8, values // VALUES_A_BIN))
    first, last = math.floor(low / width + 0.5), math.floor(high / width + 0.5)
    return np.round((np.arange(first, last + 2) - 0.5) * width, 10)


def _paper_axis(
    panel: Panel, architecture: Architecture, column: str, samples: list[np.ndarray]
) -> tuple[float, float] | None:
    """Return the ends of the paper's axis, or None unless the data are the paper's and lie inside."""
    ends = PAPER_AXES.get(column, {}).get(architecture.name) if panel.paper_data else None
    if not ends or any(s.size and ((s < ends[0]) | (s > ends[1])).mean() > MOST_OUTSIDE for s in samples):
        return None
    return ends


def _panels(
    sheet: Sheet,
    data: Results,
    quantity: Quantity,
    shown: Sequence[tuple[Panel, Architecture]],
    titles: Sequence[str],
    columns: int,
) -> None:
    for i, (ax, place, title) in enumerate(zip(sheet.axes, shown, titles, strict=True)):
        histograms(sheet, ax, data, quantity, place, title)
        # Each axis is labelled once per row or column.
        if i % columns == 0:
            ax.set_ylabel("Density")
        if i + columns >= len(shown):
            ax.set_xlabel(quantity.label)


def histograms(
    sheet: Sheet, ax: Axes, data: Results, quantity: Quantity, place: tuple[Panel, Architecture], title: str
) -> None:
    """Draw the distributions of an architecture's regimes in one panel: the first as an area, the others as outlines."""
    panel, architecture = place
    pools = {r: data.pooled(quantity.kind, quantity.column, panel, architecture, r) for r in panel.regimes}
    edges, ends = _edges_and_ends(quantity, place, [pool.values for pool in pools.values()])
    for i, (regime, style) in enumerate(of_regimes(panel.regimes).items()):
        frame = _bins_of(pools[regime], edges)
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": style.color, "linewidth": 1.0}
        if i == 0:
            look = {"facecolor": style.lighter(0.8), "edgecolor": style.color, "linewidth": 0.6}
        sheet.entry(data.labels[regime], ax.stairs(frame["density"], edges, fill=i == 0, zorder=2 + i, **look))
        for position, (name, value) in enumerate(
            {
                "panel": panel.experiment,
                "architecture": architecture.name,
                "regime": regime,
                "quantity": quantity.column,
            }.items()
        ):
            frame.insert(position, name, value)
        sheet.record(frame.assign(label=data.labels[regime], title=panel.title, dataset=panel.dataset_title))
        if beyond := frame["outside"].iloc[0]:
            sheet.outside = max(sheet.outside, beyond / pools[regime].values.size)
    margin = 0.01 * (ends[1] - ends[0])  # keeps a bar at the end whole
    ax.set_xlim(ends[0] - margin, ends[1] + margin)
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", nbins=6, steps=[1, 2, 2.5, 5, 10])
    ax.locator_params(axis="y", nbins=5)
    ax.xaxis.grid(False)
    marks = _mark_diverged(ax, pools)
    ax.set_title(title, pad=11 if marks else None)
    sheet.note(f"Each distribution pools the channels of {data.runs}.")
    if any(pool.dropped for pool in pools.values()):
        sheet.note("Values that are not finite are left out (the CSV file counts them).")


def _edges_and_ends(
    quantity: Quantity, place: tuple[Panel, Architecture], samples: list[np.ndarray]
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the edges of the bins and the ends of the axis: the paper's if the values lie inside, else the bins'."""
    import numpy as np

    axis = _paper_axis(*place, quantity.column, samples)
    if quantity.unit_range:
        edges = np.round(np.linspace(0.0, 1.0, UNIT_BINS + 1), 10)
    elif axis:
        edges = _bins(*axis, max(s.size for s in samples))
    else:
        edges = bin_edges(samples)
    return edges, axis or (edges[0], edges[-1])


def _bins_of(pool: Pooled, edges: np.ndarray) -> pd.DataFrame:
    """Return a row for each bin: its ends, count and density, and what the histogram omits."""
    import numpy as np
    import pandas as pd

    counts = np.histogram(pool.values, edges)[0]
    density = counts / (max(pool.values.size, 1) * np.diff(edges))
    frame = pd.DataFrame({"left": edges[:-1], "right": edges[1:], "count": counts, "density": density})
    return frame.assign(
        n=pool.runs,
        diverged=pool.diverged,
        values=pool.values.size,
        outside=pool.values.size - int(counts.sum()),
        not_finite=pool.dropped,
    )


def _mark_diverged(ax: Axes, pools: Mapping[str, Pooled]) -> bool:
    """Write above the panel, in each regime's colour, how many of its runs diverged; return whether any did."""
    marks = [(r, f"× {pool.diverged}/{pool.runs}") for r, pool in pools.items() if pool.diverged]
    for i, (regime, text) in enumerate(reversed(marks)):
        ax.annotate(
            text,
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(-25 * i, 3),
            textcoords="offset points",
            ha="right",
            fontsize=SMALLEST,
            color=of_regimes([regime])[regime].ink(),
        )
    return bool(marks)
