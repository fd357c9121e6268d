"""Beyond the paper: accuracy against the number of trained parameters, all regimes in one plot.

CIFAR-type ResNets of increasing depth and of increasing width.
"""

from bnonly.figures.drawing.scatter import by_regime
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

REGIMES = ("all", "all_noaffine", "bn", "bn_out", "bn_short_out", "out", "short_out", "rand2", "rand4", "rand8", "rand16", "rand2_out")  # fmt: skip
NEEDS = tuple(Need(experiment, REGIMES) for experiment in ("cifar-depth", "cifar-width"))


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    points = by_regime(
        sheet,
        data,
        lambda panel, architecture, regime: data.parameters(panel, architecture, regime)["trainable"],
        "Trained Parameters (log scale)",
    )
    most = points.loc[points["regime"] == "bn", "x"].max()
    best = points[points["x"] <= most].sort_values("mean").iloc[-1]
    sheet.find(
        f"The most accurate network with at most {most:,.0f} trained parameters (BatchNorm's largest count here) is "
        f"{best['architecture']} with {data.labels[best['regime']]}: {best['mean']:.1f}%."
    )
