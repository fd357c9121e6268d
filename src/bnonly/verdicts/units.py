"""The networks and regimes of a test, with the values of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnonly.paper.claim import Catalog, Test, parse_selector
from bnonly.results.metrics import Value
from bnonly.verdicts.measure import over_runs

#: Experiment, architecture, regime.
Place = tuple[str, str, str]
#: From an experiment to the architectures for which `*` stands.
Names = Callable[[str], Sequence[str]]


@dataclass
class Unit:
    """A network under a regime, the place to subtract, and the values of its runs by seed."""

    experiment: str
    architecture: str
    regime: str
    minus: Place | None
    threshold: float
    mine: dict[int, Value] = field(default_factory=dict)
    theirs: dict[int, Value] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds with a value; with `minus`, those with a value on both sides."""
        return sorted(set(self.mine) & set(self.theirs) if self.minus else set(self.mine))

    def at(self, metric: str, seeds: Sequence[int]) -> float:
        """Return the metric over some of the seeds."""
        value = over_runs(metric, [self.mine[s] for s in seeds])
        return value - over_runs(metric, [self.theirs[s] for s in seeds]) if self.minus else value

    @property
    def what(self) -> str:
        """Its name in evidence."""
        text = f"{self.architecture}/{self.regime}"
        if self.minus:
            _, architecture, regime = self.minus
            text += f" − {regime if architecture == self.architecture else f'{architecture}/{regime}'}"
        return text + (f", {self.threshold:g}" if self.threshold else "")

    @property
    def places(self) -> Iterator[Place]:
        """The places of its runs, and of the runs to subtract."""
        yield self.experiment, self.architecture, self.regime
        if self.minus:
            yield self.minus

    @property
    def pooled(self) -> bool:
        """Whether its runs have arrays, so that the statistic pools all runs."""
        return any(isinstance(v, np.ndarray) for v in self.mine.values())


def paper_names(catalog: Catalog) -> Names:
    """Return the function from an experiment to the paper's architectures."""
    return lambda experiment: tuple(catalog.experiments[experiment].architectures)


def units_of(test: Test, names: Names) -> list[Unit]:
    """Return the units of a test, by experiment and regime, so that a trend follows the networks."""
    units = [
        Unit(selector.experiment, architecture, regime, minus, threshold)
        for selector in test.of
        for architecture in selector.pick(names(selector.experiment))
        for regime in selector.regimes or ("",)
        for minus in [_minus(test.minus, selector.experiment, architecture, names)]
        if minus or not test.minus
        for threshold in test.thresholds or (0.0,)
    ]
    experiments, regimes = ([getattr(u, name) for u in units] for name in ("experiment", "regime"))
    return sorted(units, key=lambda u: (experiments.index(u.experiment), regimes.index(u.regime)))


def distinct(units: Sequence[Unit], aliases: Mapping[str, str]) -> list[Unit]:
    """Return the units without second names of a network: WRN-14-1 is ResNet-14."""
    return list(
        {(aliases.get(u.architecture, u.architecture), u.regime, u.threshold): u for u in units[::-1]}.values()
    )[::-1]


def _minus(text: str, experiment: str, architecture: str, names: Names) -> Place | None:
    if not text:
        return None
    if "/" not in text:
        return experiment, architecture, text
    other = parse_selector(text)
    if other.architectures == "=":
        if architecture not in names(other.experiment):
            return None
        return other.experiment, architecture, other.regimes[0]
    (name,) = other.pick(names(other.experiment))
    return other.experiment, name, other.regimes[0]
