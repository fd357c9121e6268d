"""Apply each rule to the values of runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bnonly.grid.cell import Architecture
from bnonly.grid.resolve import Grid
from bnonly.paper.claim import Test
from bnonly.verdicts import structure
from bnonly.verdicts.intervals import Estimate, estimate, interval
from bnonly.verdicts.reductions import STATISTICS, Networks, defined
from bnonly.verdicts.units import Unit
from bnonly.verdicts.verdict import FAILS, HOLDS, UNDECIDED, Evidence

#: From this number of replicates on, a network has its own error estimate.
ENOUGH = 5


def weigh(test: Test, units: Sequence[Unit], grid: Grid, intervals: int) -> Iterator[Evidence]:
    """Weigh a test on the runs of its networks.

    Parameters
    ----------
    test : Test
        The rule.
    units : sequence of Unit
        Its networks, with values.
    grid : Grid
        The run's configuration.
    intervals : int
        Number of intervals behind the claim.

    Yields
    ------
    Evidence
        One for each interval.
    """
    if test.rule == "count":
        yield _count(test, units)
    elif test.rule in ("trend", "tendency"):
        for _, group in itertools.groupby(units, lambda u: (u.experiment, u.regime)):
            yield _trend(test, list(group), intervals)
    elif test.reduce == "each":
        for _, group in itertools.groupby(units, lambda u: (u.experiment, u.regime, u.threshold)):
            yield from _each(test, list(group), grid, intervals)
    else:
        yield _reduced(test, units, grid, intervals)


def _count(test: Test, units: Sequence[Unit]) -> Evidence:
    values = [float(v) for u in units for v in u.mine.values()]
    total = sum(values)
    verdict = HOLDS if total >= test.low else FAILS
    return Evidence(f"{total:g} of {len(values)} runs", total, math.nan, 0, total, total, verdict)


def _reduced(test: Test, units: Sequence[Unit], grid: Grid, intervals: int) -> Evidence:
    specs = [_spec(u, grid) for u in units]
    networks = Networks(
        [math.log2(_trained(u, spec, grid)) for u, spec in zip(units, specs, strict=True)],
        [u.experiment for u in units],
        [spec.channels for spec in specs],
    )
    if not defined(test.reduce, networks):
        return Evidence(f"{span(units)}: too few networks", math.nan, math.nan, 0, math.nan, math.nan, UNDECIDED)
    statistic = STATISTICS[test.reduce]
    found = _estimate(lambda values: statistic(networks, values), units, test)
    return interval(span(units), found, test, intervals)


def _each(test: Test, units: list[Unit], grid: Grid, intervals: int) -> Iterator[Evidence]:
    """Weigh each network by itself; with few replicates, the networks of an experiment share their variance."""
    found = [_estimate(lambda values: values[0], [u], test) for u in units]
    known = [e for e in found if e.freedom]
    if known and min(e.freedom for e in known) < ENOUGH - 1:
        freedom = sum(e.freedom for e in known)
        shared = math.sqrt(sum(e.freedom * e.n * e.error**2 for e in known) / freedom)
        found = [replace(e, error=shared / math.sqrt(e.n), freedom=freedom) if e.freedom else e for e in found]
    for unit, one in zip(units, found, strict=True):
        floor = _resolution(test.metric, unit, grid) / math.sqrt(one.n)
        values = [] if unit.pooled else [unit.at(test.metric, [s]) for s in unit.seeds]
        yield interval(unit.what, replace(one, error=max(one.error, floor)), test, intervals, values)


def _resolution(metric: str, unit: Unit, grid: Grid) -> float:
    """Return the standard deviation of rounding an accuracy to whole test images, in points."""
    if metric not in ("top1", "top5", "clamping_change"):
        return 0.0
    image = 100.0 / grid.experiments[unit.experiment].data.test_images
    return image / math.sqrt(6 if unit.minus or metric == "clamping_change" else 12)


def _trend(test: Test, units: list[Unit], intervals: int) -> Evidence:
    """Weigh the slope over the networks; a clear step in the other direction refutes a trend, but not a tendency."""
    if len(units) < 2:
        return Evidence(span(units), math.nan, math.nan, len(units[0].seeds), math.nan, math.nan, UNDECIDED)
    what = f"{span(units)}, change from network to network"
    found = interval(what, _estimate(_slope, units, test), test, intervals)
    for before, after in itertools.pairwise(units if test.rule == "trend" else []):
        step = _estimate(lambda y: y[1] - y[0], [before, after], test)
        one = interval("", step, test, intervals * (len(units) - 1))
        if one.verdict == FAILS:
            text = f"{what}; {before.architecture} to {after.architecture} goes the other way ({one.value:+.3g})"
            return replace(found, what=text, verdict=FAILS)
    return found


def _estimate(statistic: Callable[[list[float]], float], units: Sequence[Unit], test: Test) -> Estimate:
    return estimate(statistic, [partial(u.at, test.metric) for u in units], [u.seeds for u in units])


def _slope(y: list[float]) -> float:
    return float(np.polyfit(range(len(y)), y, 1)[0])


def _spec(unit: Unit, grid: Grid) -> Architecture:
    return grid.cell(unit.architecture, unit.regime, unit.seeds[0]).architecture


def _trained(unit: Unit, spec: Architecture, grid: Grid) -> float:
    return structure.count("trainable", spec, grid.experiments[unit.experiment].data.classes, unit.regime)


def span(units: Sequence[Unit]) -> str:
    """Name the first and the last network."""
    names = list(dict.fromkeys(u.what for u in units))
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if len(names) > 2 else " and ".join(names)
