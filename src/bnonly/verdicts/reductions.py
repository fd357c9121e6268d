"""From the values of several networks to one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: In doublings: a network lies within a line's range if its count of trained parameters is at most this far beyond an end.
BEYOND = math.log2(1.1)


@dataclass(frozen=True)
class Networks:
    """Facts about the networks for reductions, in the order of their values.

    Attributes
    ----------
    sizes : sequence of float
        The base-2 logarithm of the number of trained parameters.
    experiments : sequence of str
        The experiment of each network.
    channels : sequence of int
        Channels of the first convolution.
    """

    sizes: Sequence[float]
    experiments: Sequence[str]
    channels: Sequence[int]

    def of_first(self) -> tuple[list[int], list[int]]:
        """Return the indices of the first experiment's networks, and of the others."""
        return self._split([e == self.experiments[0] for e in self.experiments])

    def wide(self) -> tuple[list[int], list[int]]:
        """Return the indices of the networks wider than the narrowest, and of the narrowest."""
        return self._split([c > min(self.channels) for c in self.channels])

    def gaps(self, parts: tuple[list[int], list[int]], values: Sequence[float]) -> list[float]:
        """Return how far each network of the first part lies above the second part's line at the same count.

        The line is interpolated in the logarithm of the count; networks beyond its ends are left out.
        """
        mine, line = parts
        line = sorted(line, key=lambda i: self.sizes[i])
        ends = [self.sizes[line[0]] - BEYOND, self.sizes[line[-1]] + BEYOND] if line else [0.0, 0.0]
        x, y = [self.sizes[i] for i in line], [values[i] for i in line]
        return [
            values[i] - float(np.interp(self.sizes[i], x, y))
            for i in mine
            if line and ends[0] <= self.sizes[i] <= ends[1]
        ]

    @staticmethod
    def _split(first: Sequence[bool]) -> tuple[list[int], list[int]]:
        return [i for i, mine in enumerate(first) if mine], [i for i, mine in enumerate(first) if not mine]


def _line(networks: Networks, values: Sequence[float], places: Sequence[int] = ()) -> Any:
    from scipy.stats import linregress

    places = places or range(len(values))
    return linregress([networks.sizes[i] for i in places], [values[i] for i in places])


def _last_residual(networks: Networks, values: Sequence[float]) -> float:
    line = _line(networks, values)
    return values[-1] - float(line.intercept + line.slope * networks.sizes[-1])


def _steeper(networks: Networks, values: Sequence[float]) -> float:
    first, second = (_line(networks, values, places).slope for places in networks.of_first())
    return float(100.0 * (first / second - 1))


#: By the names of `bnonly.paper.vocabulary.REDUCTIONS`.
STATISTICS: dict[str, Callable[[Networks, Sequence[float]], float]] = {
    "mean": lambda _, values: float(np.mean(values)),
    "min": lambda _, values: min(values),
    "max": lambda _, values: max(values),
    "slope": lambda networks, values: float(_line(networks, values).slope),
    "r": lambda networks, values: float(_line(networks, values).rvalue),
    "r2": lambda networks, values: float(_line(networks, values).rvalue ** 2),
    "log10_p": lambda networks, values: math.log10(max(float(_line(networks, values).pvalue), 1e-300)),
    "last_residual": _last_residual,
    "steeper": _steeper,
    "best_gap": lambda networks, values: max(networks.gaps(networks.of_first(), values)),
    "mean_gap": lambda networks, values: float(np.mean(networks.gaps(networks.of_first(), values))),
    "stratum_gap": lambda networks, values: float(np.mean(networks.gaps(networks.wide(), values))),
}


def defined(name: str, networks: Networks) -> bool:
    """Return whether a reduction is defined: a line needs three networks, a comparison needs both sides."""
    count = len(networks.sizes)
    if name == "steeper":
        return all(len(places) > 1 for places in networks.of_first())
    if name in ("best_gap", "mean_gap", "stratum_gap"):
        parts = networks.wide() if name == "stratum_gap" else networks.of_first()
        return bool(networks.gaps(parts, [0.0] * count))
    return count > 2 or name in ("mean", "min", "max")
