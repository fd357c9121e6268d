"""The power of every rule: how often a claim holds if the paper is true, and how often if it is not.

``python -m tests.verdicts.power [RUNS]`` prints the table, a row a claim.  ``power.yaml`` says what is assumed of the paper's networks,
how far seeds scatter, and what falsehood of each claim a reader would care about; the judge that decides real runs decides these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import norm
from tests.figures import synthetic

from bnonly.grid.cell import Key
from bnonly.paper import catalog
from bnonly.paper.claim import Catalog, Claim
from bnonly.verdicts.decide import Judge
from bnonly.verdicts.units import paper_names, units_of
from bnonly.verdicts.verdict import HOLDS, of_all

ASSUMED = yaml.safe_load(Path(__file__).with_name("power.yaml").read_text())
#: A normal distribution's values at equal steps of probability.
NORMAL = norm.ppf((np.arange(400) + 0.5) / 400)

#: Metric, threshold, folder, regime -> mean and standard deviation over seeds.
Quantity = tuple[str, float, str, str]
World = dict[Quantity, tuple[float, float]]


class Simulated:
    """Results of the paper's whole grid, drawn from a world as they are asked for; in place of `Measurements`."""

    def __init__(self, seeds: Mapping[tuple[str, str], list[int]], world: World, rng: np.random.Generator) -> None:
        self._seeds, self._world, self._rng = seeds, world, rng
        self._drawn: dict[tuple, float | np.ndarray] = {}

    def seeds(self, folder: str, regime: str) -> list[int]:
        return self._seeds[folder, regime]

    def has(self, metric: str, key: Key) -> bool:
        return True

    def value(self, metric: str, key: Key, threshold: float, bounds: tuple[float, float]) -> float | np.ndarray:
        quantity = metric, threshold, key.architecture, key.regime
        if (quantity, key.seed) not in self._drawn:
            mean, sd = self._world[quantity]
            self._drawn[quantity, key.seed] = self._draw(metric, mean, sd)
        return self._drawn[quantity, key.seed]

    def _draw(self, metric: str, mean: float, sd: float) -> float | np.ndarray:
        if metric == "failed":
            return float(self._rng.random() < mean)
        value = mean + sd * self._rng.standard_normal()
        if metric == "gamma_sd":
            return value * NORMAL
        if (
            metric == "gamma_normal_distance"
        ):  # mean: the percentage of channels in a spike at 0 amid a normal distribution
            return np.where(np.arange(400) % 100 < value, 0.0, NORMAL)
        return value


def changed(world: World, claim: Claim, change: Mapping, paper: Catalog, aliases: Mapping[str, str]) -> World:
    """Return a world with the change that a claim's truth or falsehood asks for."""
    out = dict(world)
    for test in claim.tests:
        for unit in units_of(test, paper_names(paper)):
            for side, (experiment, architecture, regime) in enumerate(unit.places):
                quantity = test.metric, unit.threshold, aliases.get(architecture, architecture), regime
                mean, sd = world[quantity]
                place = f"{experiment}/{regime}"
                to = change.get("set", {}).get(f"{place}/{test.metric}", change.get("set", {}).get(place))
                if to is not None:
                    order = list(paper.experiments[experiment].architectures)
                    out[quantity] = (to[order.index(architecture)] if isinstance(to, list) else to), sd
                elif "add" in change and not side:
                    out[quantity] = mean + change["add"], sd
    return out


@dataclass(frozen=True)
class Power:
    """How often a claim holds."""

    claim: Claim
    sd: str
    true: float
    false: float
    falsehood: str


class Simulation:
    """Claims decided on simulated results.

    Parameters
    ----------
    runs : int
        Simulations of the truth, and of each falsehood.
    """

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.grid, self.paper = synthetic.paper_grid(), catalog.load()
        self.claims = [c for c in self.paper.claims if c.counted]
        self.world = self._truth()
        self._seeds: dict[tuple[str, str], list[int]] = {}
        for key in self.grid.cells:
            self._seeds.setdefault(key[:2], []).append(key.seed)

    def _truth(self) -> World:
        world: World = {}
        for metric, experiments in ASSUMED["truth"].items():
            name, _, threshold = metric.partition("<")
            for place, body in experiments.items():
                experiment, regime = place.split("/")
                architectures = list(self.paper.experiments[experiment].architectures)
                means = body["mean"] if isinstance(body["mean"], list) else [body["mean"]] * len(architectures)
                for architecture, mean in zip(architectures, means, strict=True):
                    quantity = name, float(threshold or 0), self.grid.aliases.get(architecture, architecture), regime
                    assert world.get(quantity, (mean,))[0] == mean, f"{quantity} is assumed twice"
                    world[quantity] = mean, body["sd"]
        return world

    def power(self, claim: Claim) -> Power:
        """Simulate a claim's truth and its falsehoods; of several the one that holds most often counts."""
        truth = self._changed(self.world, claim, ASSUMED["exceptions"].get(claim.id, {}))
        false = [(self._often(claim, self._changed(truth, claim, f)), f) for f in self._falsehoods(claim)]
        worst, what = max(false, key=lambda pair: pair[0])
        return Power(claim, self._scatter(claim), self._often(claim, truth), worst, _in_words(what))

    def _changed(self, world: World, claim: Claim, change: Mapping) -> World:
        return changed(world, claim, change, self.paper, self.grid.aliases)

    def _falsehoods(self, claim: Claim) -> Sequence[Mapping]:
        found = ASSUMED["falsehoods"].get(claim.id)
        if found is None:
            step = ASSUMED["care"][claim.tests[0].metric]
            return [{"add": step}, {"add": -step}]
        return found if isinstance(found, list) else [found]

    def _often(self, claim: Claim, world: World) -> float:
        rng = np.random.default_rng(0)
        judge = Judge(self.paper, self.grid, Simulated(self._seeds, world, rng))
        assert not judge._differences(claim, self._places(claim))
        judge._differences = lambda *_: ""  # the cells are the same in every run
        holds = 0
        for _ in range(self.runs):
            judge.measured = Simulated(self._seeds, world, rng)
            # Of an inconsistent claim, too, it is the rule that is tried.
            holds += of_all(e.verdict for e in judge.decide(claim).evidence) == HOLDS
        return holds / self.runs

    def _places(self, claim: Claim) -> list:
        return [p for t in claim.tests for u in units_of(t, paper_names(self.paper)) for p in u.places]

    def _scatter(self, claim: Claim) -> str:
        found = {
            self.world[t.metric, u.threshold, self.grid.aliases.get(p[1], p[1]), p[2]][1]
            for t in claim.tests
            for u in units_of(t, paper_names(self.paper))
            for p in u.places
        }
        return f"{min(found):g}" if len(found) == 1 else f"{min(found):g} to {max(found):g}"

    def all(self) -> Iterator[Power]:
        """Yield the power of every claim about training."""
        yield from map(self.power, self.claims)


def _in_words(change: Mapping) -> str:
    if "add" in change:
        return f"{change['add']:+g}"
    return "; ".join(
        f"{place}: {' '.join(f'{v:g}' for v in to) if isinstance(to, list) else format(to, 'g')}"
        for place, to in change["set"].items()
    )


def main(runs: int) -> None:
    """Print the table."""
    print("| Claim | What the paper says | Deviation | P(holds if true) | Falsehood | P(holds if false) |")
    print("|---|---|---|---|---|---|")
    for p in Simulation(runs).all():
        mark = "*" if p.claim.power else ""
        print(
            f"| {p.claim.id}{mark} | {p.claim.says} | {p.sd} | {p.true:.0%} | {p.falsehood} | {p.false:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
