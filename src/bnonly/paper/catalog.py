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
        The file; the paper's unless given.
    figures : tuple of str
        The names of figures and tables that a claim may refer to; empty: any.

    Raises
    ------
    UserError
        In one line: file, claim, key, value and what would be right.
    """
    return read(str(source.name if source == SOURCE else source), read_yaml(source), figures)


#: What the points of a figure show; the other figures are histograms.
DRAWN: dict[str, tuple[str, ...]] = {
    **{f"fig{n:02d}": ("top1", "top5") for n in (1, 2, 3, 8, 9, 10, 11, 12, 13, 14)},
    "fig05": ("small_gammas",),
    "fig06": ("clamping_change",),
    "fig07": ("disabled_activations",),
}


@dataclass(frozen=True)
class Stated:
    """A value that the paper states for one point of a figure."""

    claim: str
    experiment: str
    architecture: str
    regime: str
    metric: str
    threshold: float
    value: float

    @property
    def point(self) -> dict[str, Any]:
        """All but the claim: where it is, and the value."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "claim"}


def stated(claims: Catalog, figure: str) -> list[Stated]:
    """Return the numbers that the paper states for points of a figure, for `paper_values: true`.

    Only plain values of a network that the paper names: no differences, no extremes, no reading of ours, nothing inconsistent.
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
                            found.append(
                                Stated(
                                    claim.id,
                                    selector.experiment,
                                    architecture,
                                    regime,
                                    test.metric,
                                    threshold,
                                    float(test.expected),
                                )
                            )
    return found
