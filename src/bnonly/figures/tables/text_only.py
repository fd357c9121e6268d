"""Results that the paper states in its text, without a figure: Figure 1 read otherwise, footnote 5, E.1 and E.2.

Each regime beside the one that it varies, on the same networks; the difference is paired by seed.
"""

from __future__ import annotations

import math
import statistics

from bnonly.figures.needs import Architecture, Need, Panel
from bnonly.figures.tables.counts import Counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

E1 = "E.1: no discernible effect on accuracy"
E2 = "E.2: did not change performance"

#: Regime, what it varies, and what the paper says of it.
COMPARISONS = (
    ("all_affine_frozen", "all", "Figure 1, read otherwise: 0.5% to 2% lower without γ and β"),
    ("all_affine_frozen", "all_noaffine", "Figure 1, read otherwise: the two readings of “disabled”"),
    ("bn_he_uniform", "bn", E1),
    ("bn_binary", "bn", E1),
    ("bn_orthogonal", "bn", E1),
    ("bn_gamma_one", "bn", E2),
    ("bn_gamma_centred", "bn", E2),
    ("rand2_layer", "rand2", "Footnote 5: the same or lower"),
)
#: The experiment that has the regimes, and the one that has what they vary.
EXPERIMENTS = {"text-depth": "cifar-depth", "text-width": "cifar-width"}
NOTE = (
    "Differences are in percentage points, paired by seed. "
    "Diverged runs count with the accuracy measured when they stopped."
)

NEEDS = tuple(
    need
    for varied, reference in EXPERIMENTS.items()
    for need in (
        Need(varied, tuple(dict.fromkeys(regime for regime, _, _ in COMPARISONS))),
        Need(reference, tuple(dict.fromkeys(regime for _, regime, _ in COMPARISONS)), among=varied),
    )
)


def build(data: Results, counted: Counts) -> Table:
    """Make the table."""
    rows, exact = [], []
    for varied, reference in EXPERIMENTS.items():
        if not (data.has(varied) and data.has(reference)):
            continue
        panel, other = data.panel(varied), data.panel(reference)
        mine, theirs = _by_cell(data, panel), _by_cell(data, other)
        for regime, base, statement in COMPARISONS:
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
        title="Results stated in the text: final test accuracy in percent, mean ± standard deviation.",
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
