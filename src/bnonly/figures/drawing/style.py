"""The style of the figures: type, lines, and a colour, marker and dash for every regime (standard library only).

The colours follow the paper's (blue: everything trains, red: BatchNorm, green: random weights), but are darker: their
contrast against the page is at least 3 to 1.  Within a figure they differ in lightness as well as hue, so that they stay
distinct in grey and for colour-blind readers.  Each regime also has its own marker and dash.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: matplotlib's parameters, laid over its defaults: a user's matplotlibrc must not change the paper's figures.
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib includes it; it has gamma and beta and is the same on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.0,
    "figure.titlesize": 8.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.3,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.25",
    "axes.labelcolor": "0.1",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
    "xtick.labelcolor": "0.1",
    "ytick.labelcolor": "0.1",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "axes.labelpad": 2.5,
    "axes.titlepad": 4.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.9,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.35,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.2,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.hspace": 0.03,
    "figure.constrained_layout.wspace": 0.03,
    "text.hinting": "none",  # keeps the width of type the same in the layout, the PDF and the PNG at 200 dpi
    # Labels are plain text: a $ does not start mathematics.
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "savefig.dpi": 200,
}

CHANCE = "0.45"
#: Smallest type size.
SMALLEST = 6.0


@dataclass(frozen=True)
class Style:
    """Colour, marker and dash of one series."""

    color: str
    marker: str
    dash: Any = "-"

    def line(self) -> dict[str, Any]:
        """Return the keywords of a line with markers and error bars."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.dash,
            "markeredgecolor": "white",
            "markeredgewidth": 0.35,
            "elinewidth": 0.9,
            "capsize": 1.6,
            "capthick": 0.9,
            "zorder": 3,
        }

    def lighter(self, share: float) -> str:
        """Return the colour mixed with white, which has the given `share`."""
        return self._mixed(255, share)

    def ink(self) -> str:
        """Return the colour, darkened for small type."""
        return self._mixed(0, 0.3)

    def _mixed(self, grey: int, share: float) -> str:
        parts = (int(self.color[i : i + 2], 16) for i in (1, 3, 5))
        return "#" + "".join(f"{round(p + (grey - p) * share):02x}" for p in parts)


REGIMES: dict[str, Style] = {
    "all": Style("#0b4c8c", "o"),
    "all_noaffine": Style("#af7bcf", "D", (0, (4, 1.4))),
    "bn": Style("#cc3b11", "s"),
    "rand2": Style("#01a381", "^", (0, (4, 1.4))),
    "bn_out": Style("#a265c9", "D", (0, (5, 1.2, 1, 1.2))),
    "out": Style("#745800", "v", (0, (2, 1))),
    "all_alt": Style("#0f97e6", "P", (0, (4, 1.4))),
    "bn_alt": Style("#c86406", "X", (0, (4, 1.4))),
    "bn_short_out": Style("#c456ac", "D", (0, (5, 1.2, 1, 1.2))),
    "short_out": Style("#745800", "v", (0, (2, 1))),
    "rand4": Style("#039172", "v", (0, (2, 1))),
    "rand8": Style("#096a53", "D", (0, (5, 1.2, 1, 1.2))),
    "rand16": Style("#02382a", "P", (0, (1, 1))),
    "gamma_only": Style("#a265c9", "^", (0, (4, 1.4))),
    "beta_only": Style("#02382a", "v", (0, (2, 1))),
    "bn_no_decay": Style("#0b4c8c", "^", (0, (4, 1.4))),
    "rand2_out": Style("#809b26", "<", (0, (2, 1))),
}

#: Figures 3 and 10 colour by the growing dimension, not by regime.
GROWTH: dict[str, Style] = {
    "depth": Style("#0b4c8c", "o"),
    "width": Style("#cc3b11", "s", (0, (4, 1.4))),
    "small": Style("#0f9e7d", "^", (0, (1, 1))),
}

_OTHERS = (
    Style("#5a4a3a", "p", (0, (3, 1))),
    Style("#9a8c2c", "h", (0, (1, 1))),
    Style("#a3415f", "*", (0, (5, 1.2, 1, 1.2))),
    Style("#3f7fa0", ">", (0, (2, 1))),
    Style("#8f8f8f", "8", (0, (4, 1.4))),
)


def of_regimes(names: Sequence[str]) -> dict[str, Style]:
    """Return the style of each regime of a figure.

    A regime missing from `REGIMES` gets a style that depends on its name, and so usually looks the same in every figure.
    If two such regimes of a figure would look alike, one gets the next style.
    """
    styles: dict[str, Style] = {}
    for name in names:
        if name in REGIMES:
            styles[name] = REGIMES[name]
            continue
        start = zlib.crc32(name.encode())
        turns = [_OTHERS[(start + i) % len(_OTHERS)] for i in range(len(_OTHERS))]
        styles[name] = next((s for s in turns if s not in styles.values()), turns[0])
    return styles
