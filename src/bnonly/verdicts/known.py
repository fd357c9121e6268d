"""Claims that need no training: parameter counts and facts of the built networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bnonly.grid.datasets import DATASETS
from bnonly.paper.claim import Catalog, Claim, Test
from bnonly.verdicts import structure
from bnonly.verdicts.intervals import exact
from bnonly.verdicts.units import Place, Unit, paper_names, units_of
from bnonly.verdicts.verdict import FAILS, HOLDS, Decision, Evidence, of_all


def decide(claim: Claim, catalog: Catalog) -> Decision:
    """Decide a claim about parameter counts or structure."""
    evidence = [e for test in claim.tests for e in (_facts if test.rule == "structure" else _counts)(test, catalog)]
    verdict = of_all(e.verdict for e in evidence)
    return Decision(claim, verdict, "Counted by building the networks; nothing has to be trained.", tuple(evidence))


def _facts(test: Test, catalog: Catalog) -> Iterator[Evidence]:
    for unit in units_of(test, paper_names(catalog)):
        place = catalog.experiments[unit.experiment]
        found = structure.fact(test.key, place.architectures[unit.architecture], DATASETS[place.dataset].classes)
        if test.key == "stride" and found == "none":
            continue
        verdict = HOLDS if found == test.expected else FAILS
        shown = " ".join(map(str, found)) if isinstance(found, tuple) else found
        number = float(found) if isinstance(found, int) else math.nan
        yield Evidence(f"{unit.architecture}: {shown}", number, math.nan, 0, number, number, verdict)


def _counts(test: Test, catalog: Catalog) -> Iterator[Evidence]:
    units = units_of(test, paper_names(catalog))
    values = [_counted(test, unit, catalog) for unit in units]
    if test.reduce != "each":
        yield exact(f"{len(values)} networks", _reduced(test, units, values, catalog), test)
        return
    divisor = 1.0
    if test.over:
        (below,) = units_of(test.over, paper_names(catalog))
        divisor = _counted(test.over, below, catalog)
    for unit, value in zip(units, values, strict=True):
        yield exact(unit.what.rstrip("/"), value / divisor, test)


def _counted(test: Test, unit: Unit, catalog: Catalog) -> float:
    def one(place: Place) -> float:
        experiment, architecture, regime = place
        paper = catalog.experiments[experiment]
        return structure.count(test.metric, paper.architectures[architecture], DATASETS[paper.dataset].classes, regime)

    first, *minus = map(one, unit.places)
    return first - sum(minus)


def _reduced(test: Test, units: Sequence[Unit], values: Sequence[float], catalog: Catalog) -> float:
    if test.reduce == "exponent":
        widths = [catalog.experiments[u.experiment].architectures[u.architecture].channels for u in units]
        return float(np.polyfit(np.log(widths), np.log(values), 1)[0])
    if test.reduce == "largest_ratio":
        return max(values) / min(values)
    return {"max": max, "min": min}[test.reduce](values) if test.reduce != "mean" else float(np.mean(values))
