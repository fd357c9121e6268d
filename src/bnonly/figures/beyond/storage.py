"""Beyond the paper: accuracy against the bytes that a trained network takes on disk (Section 6).

A weights file holds the trained parameters, BatchNorm's statistics and the seed, from which the rest is drawn again.
"""

from bnonly.figures.drawing.scatter import by_regime
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results

NEEDS = tuple(
    Need(experiment, ("all", "bn", "bn_out", "out", "rand2"), ("metrics", "weights"))
    for experiment in ("cifar-depth", "cifar-width")
)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    points = by_regime(sheet, data, data.stored_bytes, "Bytes Stored (log scale)")
    alone = points[points["regime"] == "bn"].sort_values("x").iloc[-1]
    same = points[(points["regime"] == "all") & (points["architecture"] == alone["architecture"])].iloc[0]
    sheet.find(
        f"{alone['architecture']}: {alone['x']:,.0f} bytes with BatchNorm alone are {100 * alone['x'] / same['x']:.1f}% "
        f"of the {same['x']:,.0f} with all parameters, for {same['mean'] - alone['mean']:.1f} points less accuracy."
    )
