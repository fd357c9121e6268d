"""Tables that compare varied regimes with their originals on the same networks; differences are paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from bnonly.figures.needs import Architecture, Need, Panel
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

#: An experiment with varied regimes, and one with their originals.
Pair = tuple[str, str]
#: A regime, its original, and the paper's statement about it.
Comparison = tuple[str, str, str]

NOTE = (
    "Differences are in percentage points, paired by seed. "
    "Diverged runs count with the accuracy measured when they stopped."
)


def needs(pairs: Sequence[Pair], comparisons: Sequence[Comparison]) -> tuple[Need, ...]:
    """Return the needs of a table of comparisons, each experiment once."""
    varied, bases = (tuple(dict.fromkeys(c[i] for c in comparisons)) for i in (0, 1))
    found = (need for one, other in pairs for need in (Need(one, varied), Need(other, bases, among=one)))
    return tuple(dict.fromkeys(found))


def build(data: Results, pairs: Iterable[Pair], comparisons: Sequence[Comparison], title: str) -> Table:
    """Make the table."""
    rows, exact = [], []
    for varied, reference in pairs:
        if not (data.has(varied) and data.has(reference)):
            continue
        panel, other = data.panel(varied), data.panel(reference)
        mine, theirs = _by_cell(data, panel), _by_cell(data, other)
        for regime, base, statement in comparisons:
            for architecture in panel.architectures:
                key = architecture.name
                if architecture not in other.architectures:
                    continue
                values, bases = mine.get((key, regime), {}), theirs.get((key, base), {})
                differences = [values[seed] - bases[seed] for seed in values if seed in bases]
                one = list(values.values()), _diverged(data, panel, architecture, regime)
                two = list(bases.values()), _diverged(data, other, architecture, base)
                shown = [data.labels[regime], _text(*one), data.labels[base], _text(*two)]
                rows.append([architecture.label, *shown, _text(differences, 0, signed=True), statement])
                numbers = [regime, *_counted(*one), base, *_counted(*two), len(differences), *_moments(differences)]
                exact.append([panel.experiment, key, *numbers])
    mine_columns = ["regime", "n", "mean", "sd", "diverged"]
    base_columns = ["reference", "reference_n", "reference_mean", "reference_sd", "reference_diverged"]
    return Table(
        title=title,
        columns=["Network", "Regime", "Accuracy", "Reference", "Its accuracy", "Difference", "The paper"],
        rows=rows,
        exact_columns=["panel", "architecture", *mine_columns, *base_columns, "pairs", "difference", "difference_sd"],
        exact_rows=exact,
        notes=(NOTE,),
    )


def _by_cell(data: Results, panel: Panel) -> dict[tuple[str, str], dict[int, float]]:
    """Accuracy by seed, by (architecture, regime)."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in data.accuracy(panel).to_dict("records"):
        if math.isfinite(row["value"]):
            found.setdefault((row["architecture"], row["regime"]), {})[row["seed"]] = row["value"]
    return found


def _diverged(data: Results, panel: Panel, architecture: Architecture, regime: str) -> int:
    return sum(data.has_diverged(panel, key) for key in panel.replicates(architecture, regime))


def _moments(values: list[float]) -> tuple[float, float]:
    mean = statistics.fmean(values) if values else math.nan
    return mean, statistics.stdev(values) if len(values) > 1 else math.nan


def _counted(values: list[float], diverged: int) -> tuple[float, ...]:
    return len(values), *_moments(values), diverged


def _text(values: list[float], diverged: int, signed: bool = False) -> str:
    mean, sd = _moments(values)
    if math.isnan(mean):
        return "none finite"
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    if math.isfinite(sd):
        text += f" ± {sd:.2f}"
    if diverged:
        text += f" ({diverged} diverged)"
    return text.replace("-", "−")
