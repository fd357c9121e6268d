"""The paper's claims: ``claims.yaml``, read and checked, and the values that figures show (standard library and yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bnonly.config.layers import read_yaml
from bnonly.paper.claim import Catalog
from bnonly.paper.reader import read

SOURCE = Path(__file__).with_name("claims.yaml")


@cache
def load(source: Path = SOURCE, figures: tuple[str, ...] = ()) -> Catalog:
    """Read and check a claims file.

    Parameters
    ----------
    source : Path
        The file; by default the paper's.
    figures : tuple of str
        The figures and tables that a claim may name; if empty, any name is allowed.

    Raises
    ------
    UserError
        One line: file, claim, key, value and the requirement.
    """
    return read(str(source.name if source == SOURCE else source), read_yaml(source), figures)


#: The metric that each figure's points show; the other figures are histograms.
DRAWN: dict[str, tuple[str, ...]] = {
    **{f"fig{n:02d}": ("top1", "top5") for n in (1, 2, 3, 8, 9, 10, 11, 12, 13, 14)},
    "fig05": ("small_gammas",),
    "fig06": ("clamping_change",),
    "fig07": ("disabled_activations",),
}


@dataclass(frozen=True)
class Stated:
    """A value of the paper for one point of a figure."""

    claim: str
    experiment: str
    architecture: str
    regime: str
    metric: str
    threshold: float
    value: float

    @property
    def point(self) -> dict[str, Any]:
        """All fields except the claim: the place and the value."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "claim"}


def stated(claims: Catalog, figure: str) -> list[Stated]:
    """Return the paper's numbers for points of a figure, for `paper_values: true`.

    Only plain values of a network that the paper names count: no differences, extremes, readings of ours or inconsistent claims.
    """
    found = []
    for claim in claims.claims:
        if figure not in claim.figures or claim.inconsistent or claim.reading:
            continue
        for test in claim.tests:
            drawn = test.metric in DRAWN.get(figure, ())
            plain = drawn and test.rule == "equals" and test.reduce == "each" and not test.minus
            for selector in test.of if plain else ():
                if not selector.relative:
                    for architecture in selector.architectures.split("+"):
                        for regime in selector.regimes:
                            threshold = test.thresholds[0] if test.thresholds else 0.0
                            value = float(test.expected)
                            place = selector.experiment, architecture, regime
                            found.append(Stated(claim.id, *place, test.metric, threshold, value))
    return found
