"""Beyond the paper: where in the network small γ and dead activations are.

The case study layer by layer, by each layer's position in its block; mean over replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bnonly.figures.drawing.sheet import COLUMN, Sheet
from bnonly.figures.drawing.style import of_regimes
from bnonly.figures.needs import Need, Panel
from bnonly.figures.values import Results
from bnonly.grid.thresholds import SMALL

if TYPE_CHECKING:
    import pandas as pd

NEEDS = (Need("cifar-depth", ("all", "bn"), ("metrics", "batchnorm", "activations"), case_study=True),)

PLACES = {"stem": "D", "first in a block": "o", "later in a block": "s", "shortcut": "^"}


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    from bnonly.results.metrics import DISABLED

    (panel,) = data.panels
    shares = (
        ("batchnorm", "layer", "gamma_end", f"|γ| < {SMALL[0]:g} (%)", lambda value: abs(value) < SMALL[0]),
        ("activations", "relu", "zero", "Channels Disabled (%)", lambda value: value > DISABLED),
    )
    for ax, (kind, layer, column, label, chosen) in zip(sheet.grid(2, 2, COLUMN, 2.1), shares, strict=True):
        frame = _by_layer(data, panel, (kind, layer, column), chosen)
        for regime, style in of_regimes(panel.regimes).items():
            for place, marker in PLACES.items():
                mine = frame[(frame["regime"] == regime) & (frame["place"] == place)]
                look: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 3}
                points = ax.plot(mine["x"], mine["mean"], color=style.color, **look)[0]
                if len(mine):
                    sheet.entry(f"{data.labels[regime]}, {place}", points)
        ax.set_xlabel(f"{'BatchNorm' if kind == 'batchnorm' else 'ReLU'} layer of {panel.architectures[0].label}")
        ax.set_ylabel(label)
        ax.set_ylim(bottom=0)
        sheet.record(frame)
        means = frame[frame["regime"] == "bn"].groupby("place", sort=False)["mean"].mean()
        said = ", ".join(f"{place} {share:.1f}%" for place, share in means.items())
        sheet.find(f"{data.labels['bn']}, {label.removesuffix(' (%)')}: {said} (mean over layers).")


def _by_layer(data: Results, panel: Panel, source: tuple[str, str, str], chosen: Callable[[Any], Any]) -> pd.DataFrame:
    import pandas as pd

    kind, layer, column = source
    rows = []
    for regime in panel.regimes:
        keys = panel.replicates(panel.architectures[0], regime)
        tables = [data.table(kind, panel, key)[0].select([layer, column]).to_pandas() for key in keys]
        shares = pd.concat(
            [t.assign(share=100.0 * chosen(t[column])).groupby(layer, sort=False)["share"].mean() for t in tables],
            axis=1,
        )
        for x, (name, values) in enumerate(shares.iterrows()):
            rows.append(
                (
                    panel.experiment,
                    panel.architectures[0].name,
                    regime,
                    column,
                    str(name),
                    place(str(name)),
                    x,
                    float(values.mean()),
                    len(keys),
                )
            )
    columns = ["panel", "architecture", "regime", "quantity", "layer", "place", "x", "mean", "n"]
    return pd.DataFrame(rows, columns=columns)


def place(layer: str) -> str:
    """Return a layer's position in its block, from its name in the network."""
    if "downsample" in layer:
        return "shortcut"
    if "." not in layer:
        return "stem"
    return "first in a block" if layer.rsplit(".", 1)[1] in ("bn1", "relu", "relu1") else "later in a block"
