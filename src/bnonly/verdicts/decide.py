"""The verdict on each claim, from results on disk, with the cells and the numbers that it rests on.

Every number is a statistic of runs; differences are paired by seed.  Its interval is Student's t with the jackknife's standard error, one
run left out at a time: for a mean that is the usual interval, and it serves slopes, maxima and pooled deviations as well.  A claim holds if
every interval lies inside what the rule accepts, does not hold if one lies outside (at a level shared between all of them), and is
undecided otherwise.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bnonly.grid.cell import Architecture, Cell
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.paper.claim import Catalog, Claim, PaperExperiment, Selector, Test, parse_selector
from bnonly.results.metrics import Value
from bnonly.verdicts import structure
from bnonly.verdicts.intervals import Seeds, estimate, exact, interval
from bnonly.verdicts.measure import Measurements, over_runs, usable
from bnonly.verdicts.verdict import (
    EXTERNAL,
    FAILS,
    HOLDS,
    INCONSISTENT,
    NOT_APPLICABLE,
    NOT_RUN,
    UNDECIDED,
    Decision,
    Evidence,
    Key,
    of_all,
    reason_of,
)

#: From this many replicates on a network has an error of its own.
ENOUGH = 5


@dataclass
class _Unit:
    """A network under a regime, what is subtracted from it, and the values of its runs by seed."""

    experiment: str
    architecture: str
    regime: str
    minus: tuple[str, str, str] | None
    threshold: float
    mine: dict[int, Value] = field(default_factory=dict)
    theirs: dict[int, Value] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        return sorted(set(self.mine) & set(self.theirs) if self.minus else set(self.mine))

    def at(self, metric: str, seeds: Sequence[int]) -> float:
        value = over_runs(metric, [self.mine[s] for s in seeds])
        return value - over_runs(metric, [self.theirs[s] for s in seeds]) if self.minus else value

    @property
    def what(self) -> str:
        text = f"{self.architecture}/{self.regime}"
        if self.minus:
            _, architecture, regime = self.minus
            text += f" − {regime if architecture == self.architecture else f'{architecture}/{regime}'}"
        return text + (f", {self.threshold:g}" if self.threshold else "")

    @property
    def places(self) -> Iterator[tuple[str, str, str]]:
        yield self.experiment, self.architecture, self.regime
        if self.minus:
            yield self.minus


class Judge:
    """Decides claims on one run.

    Parameters
    ----------
    catalog : Catalog
        The claims.
    grid : Grid
        The run's configuration.
    measured : Measurements
        Its results.
    """

    def __init__(self, catalog: Catalog, grid: Grid, measured: Measurements) -> None:
        self.catalog, self.grid, self.measured = catalog, grid, measured
        self._protocol = protocol(catalog)

    def decide_all(self) -> list[Decision]:
        """Decide every claim, in the order of the file."""
        return [self.decide(claim) for claim in self.catalog.claims]

    def decide(self, claim: Claim) -> Decision:
        """Decide one claim."""
        if claim.kind == "external":
            return Decision(claim, EXTERNAL, f"Not this paper's to reproduce: {claim.external}.")
        found = {"count": self._count, "setting": self._setting, "result": self._result}[claim.kind](claim)
        if not claim.inconsistent:
            return found
        return Decision(
            claim,
            INCONSISTENT,
            f"By the paper's own numbers: {claim.inconsistent}.",
            found.evidence,
            found.cells,
            found.missing,
            f"as printed, {_of(claim.kind)}: {found.verdict}" if found.verdict != NOT_APPLICABLE else found.finding,
        )

    # What is known without training.

    def _count(self, claim: Claim) -> Decision:
        evidence: list[Evidence] = []
        for test in claim.tests:
            if test.rule == "structure":
                evidence += self._structure(test)
                continue
            units = self._units(test, self._paper_names)
            if test.reduce == "each":
                for unit in units:
                    value = self._counted(test, unit)
                    if test.over:
                        (below,) = self._units(test.over, self._paper_names)
                        value /= self._counted(test.over, below)
                    evidence.append(exact(unit.what.rstrip("/"), value, test))
            else:
                values = {u.architecture: self._counted(test, u) for u in units}
                evidence.append(exact(f"{len(values)} networks", self._reduce_counts(test, values, units), test))
        verdict = of_all(e.verdict for e in evidence)
        return Decision(claim, verdict, "Counted by building the networks; nothing has to be trained.", tuple(evidence))

    def _structure(self, test: Test) -> Iterator[Evidence]:
        for unit in self._units(test, self._paper_names):
            place = self.catalog.experiments[unit.experiment]
            found = structure.fact(test.key, place.architectures[unit.architecture], place.dataset)
            if test.key == "stride" and found == "none":
                continue
            verdict = HOLDS if found == test.expected else FAILS
            shown = " ".join(map(str, found)) if isinstance(found, tuple) else found
            number = float(found) if isinstance(found, int) else math.nan
            yield Evidence(f"{unit.architecture}: {shown}", number, math.nan, 0, number, number, verdict)

    def _counted(self, test: Test, unit: _Unit) -> float:
        def one(experiment: str, architecture: str, regime: str) -> float:
            place = self.catalog.experiments[experiment]
            return structure.count(test.metric, place.architectures[architecture], place.dataset, regime)

        value = one(unit.experiment, unit.architecture, unit.regime)
        return value - one(*unit.minus) if unit.minus else value

    def _reduce_counts(self, test: Test, values: Mapping[str, float], units: Sequence[_Unit]) -> float:
        numbers = list(values.values())
        if test.reduce == "exponent":
            place = self.catalog.experiments[units[0].experiment]
            widths = [place.architectures[u.architecture].channels for u in units]
            return float(np.polyfit(np.log(widths), np.log(numbers), 1)[0])
        if test.reduce == "largest_ratio":
            return max(numbers) / min(numbers)
        return max(numbers) if test.reduce == "max" else float(np.mean(numbers))

    # What the configuration says.

    def _setting(self, claim: Claim) -> Decision:
        places = list(dict.fromkeys(s.experiment for t in claim.tests for s in t.of))
        foreign = [p for p in places if self._foreign(p)]
        evidence, differing = [], []
        for test in claim.tests:
            for selector in test.of:
                for cell, name in self._configured(selector):
                    found = setting_of(cell, self.grid, selector.experiment, test.key)
                    if found != test.expected:
                        differing.append(f"{name}: {test.key} is {_plain(found)}")
        used = [p for p in places if any(k in self.measured.labels for k in self._keys(p))]
        first = f"{differing[0]}{f', and {len(differing) - 1} more' if len(differing) > 1 else ''}" if differing else ""
        finding = (first or "the configuration follows it") if any(p in self.grid.experiments for p in places) else ""
        if foreign:
            data = DATASETS[self.grid.experiments[foreign[0]].dataset].title
            return Decision(
                claim, NOT_APPLICABLE, f"These results are on {data}, with settings of their own.", finding=finding
            )
        if not used:
            return Decision(claim, NOT_RUN, "Nothing of this has been trained.", finding=finding)
        verdict = FAILS if differing else HOLDS
        count = sum(k in self.measured.labels for p in used for k in self._keys(p))
        evidence.append(
            Evidence(f"{count} runs of {', '.join(used)}", math.nan, math.nan, 0, math.nan, math.nan, verdict)
        )
        reason = f"Not followed: {first}." if differing else "Followed by every run."
        return Decision(claim, verdict, reason, tuple(evidence))

    def _configured(self, selector: Selector) -> Iterator[tuple[Cell, str]]:
        if selector.experiment not in self.grid.experiments:
            return
        experiment = self.grid.experiments[selector.experiment]
        for architecture in selector.pick(experiment.architectures):
            for regime in experiment.regimes:
                wanted = selector.regimes == ("*",) or regime in selector.regimes
                if wanted and architecture in experiment.architectures:
                    yield self.grid.cell(architecture, regime, experiment.seeds[0]), f"{architecture}/{regime}"

    def _keys(self, experiment: str) -> list[Key]:
        if experiment not in self.grid.experiments:
            return []
        return list(self.grid.keys_of(self.grid.experiments[experiment]))

    def _foreign(self, experiment: str) -> bool:
        mine = self.grid.experiments.get(experiment)
        return mine is not None and mine.dataset != self.catalog.experiments[experiment].dataset

    # What training shows.

    def _result(self, claim: Claim) -> Decision:
        places = list(
            dict.fromkeys(p[0] for t in claim.tests for u in self._units(t, self._paper_names) for p in u.places)
        )
        foreign = [p for p in places if self._foreign(p)]
        if foreign:
            return self._elsewhere(claim, places)
        evidence, cells, missing, other = self._evidence(claim, self._paper_names, self.catalog.experiments)
        if other:
            finding = f"in these runs: {of_all(e.verdict for e in evidence)}" if claim.ordering and evidence else ""
            return Decision(
                claim,
                NOT_APPLICABLE,
                f"These runs do not follow the paper's protocol: {other}.",
                evidence,
                cells,
                (),
                finding,
            )
        if missing:
            networks_ = {k[:2] for k in missing}
            reason = f"{len(missing)} runs of {len(networks_)} cell{'s' if len(networks_) > 1 else ''} are missing."
            so_far = of_all(e.verdict for e in evidence) if evidence else ""
            return Decision(
                claim,
                NOT_RUN,
                reason,
                evidence,
                cells,
                missing,
                f"so far: {so_far}" if so_far and claim.ordering else "",
            )
        verdict, reason = of_all(e.verdict for e in evidence), ""
        wanted = min(self.catalog.experiments[p].seeds for p in places)
        if any(0 < e.n < wanted for e in evidence):
            reason = f" From fewer replicates than the paper's {wanted}."
        return Decision(claim, verdict, reason_of(verdict, evidence) + reason, evidence, cells)

    def _elsewhere(self, claim: Claim, places: Sequence[str]) -> Decision:
        there = [p for p in places if p in self.grid.experiments]
        titles = list(
            dict.fromkeys(DATASETS[self.grid.experiments[p].dataset].title for p in there if self._foreign(p))
        )
        paper = " and ".join(dict.fromkeys(DATASETS[self.catalog.experiments[p].dataset].title for p in places))
        reason = f"These results are on {' and '.join(titles)}; the claim is about {paper}."
        if not claim.ordering:
            return Decision(claim, NOT_APPLICABLE, reason)
        evidence, cells, missing, _ = self._evidence(claim, self._own_names, {})
        if not evidence:
            return Decision(claim, NOT_APPLICABLE, reason)
        verdict = of_all(e.verdict for e in evidence)
        finding = f"on {' and '.join(titles)}: {verdict}{' so far' if missing else ''}"
        return Decision(claim, NOT_APPLICABLE, reason, evidence, cells, (), finding)

    def _evidence(
        self,
        claim: Claim,
        names: Callable[[str], Sequence[str]],
        paper: Mapping[str, PaperExperiment],
    ) -> tuple[tuple[Evidence, ...], tuple[str, ...], tuple[Key, ...], str]:
        """Return evidence, cells used, the paper's cells that are missing, and how the protocol differs from the paper's."""
        prepared: list[tuple[Test, list[_Unit]]] = []
        cells: dict[str, None] = {}
        missing: dict[Key, None] = {}
        other = ""
        for test in claim.tests:
            units, whole = [], all(s.experiment in self.grid.experiments for s in test.of)
            for unit in self._units(test, names):
                if not all(p[0] in self.grid.experiments or p[0] in paper for p in unit.places):
                    continue
                absent, unlike = self._fill(test, unit, paper, cells)
                missing.update(dict.fromkeys(absent))
                whole = whole and not absent
                other = other or unlike
                if unit.seeds:
                    units.append(unit)
                elif not absent:
                    # Every run is there, none has a finite value: nothing that a rule could accept.
                    missing.update(dict.fromkeys(k for p in unit.places for k in self._wanted(p, paper)))
            # A statistic over several networks says nothing of some of them.
            prepared.append((test, units if whole or test.reduce == "each" else []))
        intervals = sum(_intervals(test, units) for test, units in prepared)
        evidence = [e for test, units in prepared if units for e in self._weigh(test, units, max(1, intervals))]
        return tuple(evidence), tuple(cells), tuple(missing), other

    def _fill(
        self, test: Test, unit: _Unit, paper: Mapping[str, PaperExperiment], cells: dict[str, None]
    ) -> tuple[list[Key], str]:
        absent: list[Key] = []
        other = ""
        for place, values in zip(unit.places, (unit.mine, unit.theirs), strict=False):
            experiment, architecture, regime = place
            folder = self.grid.aliases.get(architecture, architecture)
            found = [Key(folder, regime, s) for s in self.measured.seeds(folder, regime)]
            done = [k for k in found if self.measured.has(test.metric, k)]
            if not done:
                absent += self._wanted(place, paper)
            for key in done:
                other = other or self._unlike(experiment, architecture, self.grid.cells[key], paper)
                value = self.measured.value(test.metric, key, unit.threshold, test.bounds)
                cells[str(key)] = None
                if usable(value):
                    values[key.seed] = value
        return absent, other

    def _wanted(self, place: tuple[str, str, str], paper: Mapping[str, PaperExperiment]) -> list[Key]:
        experiment, architecture, regime = place
        folder = self.grid.aliases.get(architecture, architecture)
        seeds = self.measured.seeds(folder, regime) or range(paper[experiment].seeds if experiment in paper else 0)
        return [Key(folder, regime, s) for s in seeds]

    def _unlike(self, experiment: str, name: str, cell: Cell, paper: Mapping[str, PaperExperiment]) -> str:
        """Say how a cell differs from the paper's, if it does."""
        if experiment not in paper:
            return ""
        wanted = paper[experiment].architectures.get(name)
        mine = cell.architecture
        if wanted and (mine.family, mine.depth, mine.channels) != (wanted.family, wanted.depth, wanted.channels):
            return f"{name} is {mine.family}, depth {mine.depth}, {mine.channels} channels"
        for key, expected in self._protocol.get(experiment, {}).items():
            found = setting_of(cell, self.grid, experiment, key)
            if found != expected:
                return f"{key} is {_plain(found)}, the paper has {_plain(expected)}"
        return ""

    def _weigh(self, test: Test, units: list[_Unit], intervals: int) -> Iterator[Evidence]:
        if test.rule == "count":
            total = sum(float(v) for u in units for v in u.mine.values())
            runs = sum(len(u.mine) for u in units)
            verdict = HOLDS if total >= test.low else FAILS
            yield Evidence(f"{total:g} of {runs} runs", total, math.nan, 0, total, total, verdict)
        elif test.rule == "trend":
            for _, group in itertools.groupby(units, lambda u: (u.experiment, u.regime)):
                yield self._trend(test, list(group), intervals)
        elif test.reduce == "each":
            for _, group in itertools.groupby(units, lambda u: (u.experiment, u.regime, u.threshold)):
                yield from self._each(test, list(group), intervals)
        elif not self._enough(test, units):
            yield Evidence(f"{_span(units)}: too few networks", math.nan, math.nan, 0, math.nan, math.nan, UNDECIDED)
        else:
            yield interval(
                _span(units), estimate(self._reduced(test, units), [u.seeds for u in units]), test, intervals
            )

    def _enough(self, test: Test, units: list[_Unit]) -> bool:
        """Say whether a reduction is defined: a line needs three networks, a comparison both of its sides."""
        per_family = Counter(u.experiment for u in units)
        if test.reduce == "steeper":
            return len(per_family) == 2 and min(per_family.values()) > 1
        if test.reduce == "best_equal_count_gap":
            return len(per_family) > 1 and units[0].experiment == test.of[0].experiment
        if test.reduce == "stratum_gap":
            return len({self._spec(u).channels for u in units}) > 1
        return len(units) > 2 or test.reduce in ("mean", "max")

    def _each(self, test: Test, units: list[_Unit], intervals: int) -> Iterator[Evidence]:
        """Weigh each network by itself; with few replicates the networks of an experiment share their variance."""
        found = [estimate(lambda s, u=u: u.at(test.metric, s[0]), [u.seeds]) for u in units]  # type: ignore[misc]
        known = [e for e in found if e.freedom]
        if known and min(e.freedom for e in known) < ENOUGH - 1:
            freedom = sum(e.freedom for e in known)
            shared = math.sqrt(sum(e.freedom * e.n * e.error**2 for e in known) / freedom)
            found = [replace(e, error=shared / math.sqrt(e.n), freedom=freedom) if e.freedom else e for e in found]
        for unit, one in zip(units, found, strict=True):
            floor = self._resolution(test.metric, unit) / math.sqrt(one.n)
            values = [] if _is_array(unit) else [unit.at(test.metric, [s]) for s in unit.seeds]
            yield interval(unit.what, replace(one, error=max(one.error, floor)), test, intervals, values)

    def _resolution(self, metric: str, unit: _Unit) -> float:
        """Return the standard deviation of rounding an accuracy to whole test images, in points."""
        if metric not in ("top1", "top5", "clamping_change"):
            return 0.0
        image = 100.0 / DATASETS[self.grid.experiments[unit.experiment].dataset].test_images
        return image / math.sqrt(6 if unit.minus or metric == "clamping_change" else 12)

    def _trend(self, test: Test, units: list[_Unit], intervals: int) -> Evidence:
        """Slope from network to network; a step that clearly goes the other way refutes it."""
        sign = 1.0 if test.direction == "rising" else -1.0

        def slope(seeds: Seeds) -> float:
            return _slope(range(len(units)), [u.at(test.metric, s) for u, s in zip(units, seeds, strict=True)])

        def step(seeds: Seeds) -> float:
            return after.at(test.metric, seeds[1]) - before.at(test.metric, seeds[0])

        if len(units) < 2:
            return Evidence(_span(units), math.nan, math.nan, len(units[0].seeds), math.nan, math.nan, UNDECIDED)
        what = f"{_span(units)}, change from network to network"
        found = interval(what, estimate(slope, [u.seeds for u in units]), test, intervals, sign=sign)
        for before, after in itertools.pairwise(units):
            one = interval(
                "", estimate(step, [before.seeds, after.seeds]), test, intervals * (len(units) - 1), sign=sign
            )
            if one.verdict == FAILS:
                text = f"{what}; {before.architecture} to {after.architecture} goes the other way ({one.value:+.3g})"
                return replace(found, what=text, verdict=FAILS)
        return found

    def _reduced(self, test: Test, units: list[_Unit]) -> Callable[[Seeds], float]:
        def at(seeds: Seeds) -> list[float]:
            return [u.at(test.metric, s) for u, s in zip(units, seeds, strict=True)]

        def fit(values: Sequence[float], chosen: Sequence[int]) -> Any:
            from scipy.stats import linregress

            return linregress([sizes[i] for i in chosen], [values[i] for i in chosen])

        def residual(seeds: Seeds) -> float:
            values = at(seeds)
            line = fit(values, everyone)
            return values[-1] - float(line.intercept + line.slope * sizes[-1])

        def steeper(seeds: Seeds) -> float:
            values = at(seeds)
            first, second = (
                fit(values, [i for i in everyone if units[i].experiment == e]).slope
                for e in dict.fromkeys(u.experiment for u in units)
            )
            return float(100.0 * (first / second - 1))

        def gaps(mine: list[int], others: list[int], seeds: Seeds) -> list[float]:
            values = at(seeds)
            return [values[i] - values[min(others, key=lambda o: abs(sizes[o] - sizes[i]))] for i in mine]

        everyone = list(range(len(units)))
        sizes = [math.log2(self._trained(u)) for u in units]
        first = [i for i in everyone if units[i].experiment == units[0].experiment]
        channels = [self._spec(u).channels for u in units]
        wide = [i for i in everyone if channels[i] > min(channels)]
        narrow = [i for i in everyone if i not in wide]
        statistics: dict[str, Callable[[Seeds], float]] = {
            "mean": lambda seeds: float(np.mean(at(seeds))),
            "max": lambda seeds: max(at(seeds)),
            "slope": lambda seeds: float(fit(at(seeds), everyone).slope),
            "r": lambda seeds: float(fit(at(seeds), everyone).rvalue),
            "r2": lambda seeds: float(fit(at(seeds), everyone).rvalue ** 2),
            "log10_p": lambda seeds: math.log10(max(float(fit(at(seeds), everyone).pvalue), 1e-300)),
            "last_residual": residual,
            "steeper": steeper,
            "best_equal_count_gap": lambda seeds: max(gaps(first, [i for i in everyone if i not in first], seeds)),
            "stratum_gap": lambda seeds: float(np.mean(gaps(wide, narrow, seeds))),
        }
        return statistics[test.reduce]

    def _spec(self, unit: _Unit) -> Architecture:
        folder = self.grid.aliases.get(unit.architecture, unit.architecture)
        return next(c.architecture for k, c in self.grid.cells.items() if k.architecture == folder)

    def _trained(self, unit: _Unit) -> float:
        dataset = self.grid.experiments[unit.experiment].dataset
        return structure.count("trainable", self._spec(unit), dataset, unit.regime)

    # Which networks a test is about.

    def _paper_names(self, experiment: str) -> Sequence[str]:
        return tuple(self.catalog.experiments[experiment].architectures)

    def _own_names(self, experiment: str) -> Sequence[str]:
        return self.grid.experiments[experiment].architectures if experiment in self.grid.experiments else ()

    def _units(self, test: Test, names: Callable[[str], Sequence[str]]) -> list[_Unit]:
        units = []
        for selector in test.of:
            for architecture in selector.pick(names(selector.experiment)):
                for regime in selector.regimes or ("",):
                    minus = _minus(test.minus, selector.experiment, architecture, names)
                    if test.minus and minus is None:
                        continue
                    for threshold in test.thresholds or (0.0,):
                        units.append(_Unit(selector.experiment, architecture, regime, minus, threshold))
        # One regime after the other, so that a trend is along the networks.
        regimes = {u.regime: i for i, u in reversed(list(enumerate(units)))}
        places = {u.experiment: i for i, u in reversed(list(enumerate(units)))}
        return sorted(units, key=lambda u: (places[u.experiment], regimes[u.regime]))


def _minus(
    text: str, experiment: str, architecture: str, names: Callable[[str], Sequence[str]]
) -> tuple[str, str, str] | None:
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


def _is_array(unit: _Unit) -> bool:
    return any(isinstance(v, np.ndarray) for v in unit.mine.values())


def _intervals(test: Test, units: Sequence[_Unit]) -> int:
    return len(units) if test.reduce == "each" else 1


def _span(units: Sequence[_Unit]) -> str:
    names = list(dict.fromkeys(u.what for u in units))
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if len(names) > 2 else " and ".join(names)


def _slope(x: Iterable[float], y: Sequence[float]) -> float:
    return float(np.polyfit(list(x), y, 1)[0])


def _of(kind: str) -> str:
    return {"count": "of the exact counts", "setting": "of the configuration"}.get(kind, "of these results")


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def protocol(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Return the paper's settings by experiment, from the claims that state them; not the number of replicates."""
    found: dict[str, dict[str, Any]] = {}
    for claim in catalog.claims:
        for test in claim.tests:
            if test.rule == "setting" and test.key.startswith("recipe."):
                for selector in test.of:
                    found.setdefault(selector.experiment, {})[test.key] = test.expected
    for varied, base in (("text-depth", "cifar-depth"), ("text-width", "cifar-width")):
        if base in found:
            found.setdefault(varied, found[base])
    return found


def setting_of(cell: Cell, grid: Grid, experiment: str, key: str) -> Any:
    """Return a setting of a cell, for example ``recipe.epochs``; "replicates" is of its experiment."""
    if key == "replicates":
        return len(grid.experiments[experiment].seeds)
    node: Any = cell
    for part in key.split("."):
        node = getattr(node, part)
    return node
