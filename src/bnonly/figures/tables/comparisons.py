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
                failed = _diverged(data, panel, architecture, regime), _diverged(data, other, architecture, base)
                rows.append(
                    [
                        architecture.label,
                        data.labels[regime],
                        _text(list(values.values()), failed[0]),
                        data.labels[base],
                        _text(list(bases.values()), failed[1]),
                        _text(differences, 0, signed=True),
                        statement,
                    ]
                )
                exact.append(
                    [
                        panel.experiment,
                        key,
                        regime,
                        len(values),
                        *_moments(list(values.values())),
                        failed[0],
                        base,
                        len(bases),
                        *_moments(list(bases.values())),
                        failed[1],
                        len(differences),
                        *_moments(differences),
                    ]
                )
    return Table(
        title=title,
        columns=["Network", "Regime", "Accuracy", "Reference", "Its accuracy", "Difference", "The paper"],
        rows=rows,
        exact_columns=[
            "panel",
            "architecture",
            "regime",
            "n",
            "mean",
            "sd",
            "diverged",
            "reference",
            "reference_n",
            "reference_mean",
            "reference_sd",
            "reference_diverged",
            "pairs",
            "difference",
            "difference_sd",
        ],
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
