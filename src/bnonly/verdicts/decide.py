"""The verdict on each claim, from results on disk, with the cells and numbers behind it.

Every number is a statistic of runs; differences are paired by seed.  Its interval is Student's t with the jackknife's
standard error, which leaves out one run at a time.  For a mean this is the usual interval; it also works for slopes,
extremes and pooled deviations.  A claim holds if every interval lies inside the region that the rule accepts.  It does
not hold if one interval lies outside, at a level shared between all of them.  Otherwise it is undecided.
Only the paper's own cells decide a claim (`bnonly.paper.deviations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.paper import deviations
from bnonly.paper.claim import Catalog, Claim, Test
from bnonly.verdicts import known, settings
from bnonly.verdicts.measure import Measurements, usable
from bnonly.verdicts.rules import weigh
from bnonly.verdicts.units import Names, Place, Unit, distinct, paper_names, units_of
from bnonly.verdicts.verdict import (
    EXTERNAL,
    INCONSISTENT,
    NOT_APPLICABLE,
    NOT_RUN,
    Decision,
    Evidence,
    of_all,
    reason_of,
)

#: Statistics that count a network once, even if two experiments have it.
_ONCE = ("each", "mean", "min", "max")


@dataclass
class _Found:
    """The evidence of the results about a claim."""

    evidence: tuple[Evidence, ...] = ()
    cells: dict[str, None] = field(default_factory=dict)
    missing: dict[Key, None] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return of_all(e.verdict for e in self.evidence)


class Judge:
    """Decides claims from one run.

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

    def decide_all(self) -> list[Decision]:
        """Decide every claim, in the order of the file."""
        return [self.decide(claim) for claim in self.catalog.claims]

    def decide(self, claim: Claim) -> Decision:
        """Decide one claim."""
        if claim.external:
            return Decision(claim, EXTERNAL, f"Not this paper's to reproduce: {claim.external}.")
        reason = f"By the paper's own numbers: {claim.inconsistent}."
        if not claim.tests:
            return Decision(claim, INCONSISTENT, reason)
        source = claim.tests[0].kind
        if source == "setting":
            foreign = [e for e in self.grid.experiments if self._foreign(e)]
            found = settings.decide(claim, self.grid, self.measured, foreign)
        else:
            found = self._result(claim) if source == "result" else known.decide(claim, self.catalog)
        if not claim.inconsistent:
            return found
        of = {"count": "of the exact counts", "setting": "of the configuration"}.get(source, "of these results")
        finding = found.finding if found.verdict == NOT_APPLICABLE else f"as printed, {of}: {found.verdict}"
        return Decision(claim, INCONSISTENT, reason, found.evidence, found.cells, found.missing, finding)

    def _foreign(self, experiment: str) -> bool:
        """Return whether the run trains an experiment of the paper on other data."""
        theirs = self.catalog.experiments.get(experiment)
        return theirs is not None and self.grid.experiments[experiment].data.name != theirs.dataset

    def _result(self, claim: Claim) -> Decision:
        names = paper_names(self.catalog)
        places = list(dict.fromkeys(p for t in claim.tests for u in units_of(t, names) for p in u.places))
        differences = self._differences(claim, places)
        if differences:
            return self._elsewhere(claim, f"These runs are not the paper's: {differences}.")
        found = self._look(claim.tests, names)
        cells, missing = tuple(found.cells), tuple(found.missing)
        if missing:
            count = len({k[:2] for k in missing})
            reason = f"{len(missing)} runs of {count} cell{'s' if count > 1 else ''} are missing."
            finding = f"so far: {found.verdict}" if found.evidence else ""
            return Decision(claim, NOT_RUN, reason, found.evidence, cells, missing, finding)
        return Decision(claim, found.verdict, reason_of(found.verdict, found.evidence), found.evidence, cells)

    def _differences(self, claim: Claim, places: Sequence[Place]) -> str:
        """Describe how the cells behind a claim differ from the paper's, if that makes them another experiment."""
        configured = [p for p in map(self._home, places) if p]
        if not configured:
            own = dict.fromkeys(p for t in claim.tests for u in units_of(t, self._own_names) for p in u.places)
            configured = [p for p in map(self._home, own) if p]
        found = deviations.deviations(self.grid, configured)
        return deviations.in_words(d for d in found if d.disqualifies)

    def _home(self, place: Place) -> Place | None:
        """Return the place under the experiment that trains it; None if the run or the paper lacks that experiment."""
        experiment, architecture, regime = place
        paper = deviations.paper().experiments
        for name in (experiment, *self.grid.experiments):
            mine = self.grid.experiments.get(name)
            if mine and name in paper and architecture in mine.architectures and regime in mine.regimes:
                return name, architecture, regime
        return None

    def _elsewhere(self, claim: Claim, reason: str) -> Decision:
        """Test the run's own networks: an ordering or a trend is a finding even without a verdict."""
        if not claim.ordering:
            return Decision(claim, NOT_APPLICABLE, reason)
        found = self._look([t for t in claim.tests if t.ordering], self._own_names)
        if not found.evidence:
            return Decision(claim, NOT_APPLICABLE, reason)
        finding = f"in these runs: {found.verdict}{' so far' if found.missing else ''}"
        return Decision(claim, NOT_APPLICABLE, reason, found.evidence, tuple(found.cells), (), finding)

    def _own_names(self, experiment: str) -> Sequence[str]:
        return self.grid.experiments[experiment].architectures if experiment in self.grid.experiments else ()

    def _look(self, tests: Sequence[Test], names: Names) -> _Found:
        """Measure the runs and weigh the tests."""
        found = _Found()
        prepared: list[tuple[Test, list[Unit]]] = []
        for test in tests:
            units = units_of(test, names)
            if test.reduce in _ONCE and test.rule not in ("trend", "tendency"):
                units = distinct(units, self.grid.aliases)
            before = len(found.missing)
            usable_units = [u for u in units if self._fill(test, u, found)]
            # A statistic over several networks is undefined for a part of them.
            whole = len(found.missing) == before or test.reduce == "each"
            prepared.append((test, usable_units if whole else []))
        intervals = max(1, sum(len(units) if test.reduce == "each" else 1 for test, units in prepared))
        evidence = (e for test, units in prepared if units for e in weigh(test, units, self.grid, intervals))
        found.evidence = tuple(evidence)
        return found

    def _fill(self, test: Test, unit: Unit, found: _Found) -> bool:
        """Measure the runs of a network, note the missing ones, and return whether there is a value."""
        wanted: list[Key] = []
        for place, values in zip(unit.places, (unit.mine, unit.theirs), strict=False):
            for key in self._keys(place):
                wanted.append(key)
                if not self.measured.has(test.metric, key):
                    found.missing[key] = None
                    continue
                value = self.measured.value(test.metric, key, unit.threshold, test.bounds)
                found.cells[str(key)] = None
                if usable(value):
                    values[key.seed] = value
        if not unit.seeds and not any(key in found.missing for key in wanted):
            # All runs exist, but none has a finite value that a rule could accept.
            found.missing.update(dict.fromkeys(wanted))
        return bool(unit.seeds)

    def _keys(self, place: Place) -> list[Key]:
        experiment, architecture, regime = place
        folder = self.grid.aliases.get(architecture, architecture)
        theirs = self.catalog.experiments.get(experiment)
        seeds = self.measured.seeds(folder, regime) or range(theirs.seeds if theirs else 0)
        return [Key(folder, regime, s) for s in seeds]
