"""The paper's claims as rows: the printed number, ours, the difference, and the evidence behind the verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnonly.console import slug
from bnonly.grid.cell import Key
from bnonly.paper import vocabulary
from bnonly.paper.claim import Test
from bnonly.report.spending import Prices
from bnonly.verdicts import table, verdict
from bnonly.verdicts.verdict import Decision, Evidence

KIND_TITLES = {
    "result": "Results of training",
    "count": "Parameter counts and structure",
    "setting": "Settings",
    "axis": "Axes of figures",
    "definition": "Definitions",
    "external": "Prior work",
}
#: Order of claims without a number; they follow the others, and those that need attention come first.
ORDER = (verdict.FAILS, verdict.UNDECIDED, verdict.INCONSISTENT, verdict.NOT_RUN, verdict.NOT_APPLICABLE, verdict.HOLDS)


@dataclass(frozen=True)
class Comparison:
    """A number of the paper, and ours.

    Attributes
    ----------
    paper, ours : float
        In the unit of the claim: percent, points, parameters.
    low, high : float
        95 % interval of ours; both ``ours`` where it is exact.
    tolerance : float
        Half the width of the region that the claim's rule accepts.
    """

    paper: float
    ours: float
    low: float
    high: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Ours minus the paper's."""
        return self.ours - self.paper

    @property
    def tolerances(self) -> float:
        """The difference divided by the rule's tolerance, which makes claims of several units sortable."""
        if not self.difference:
            return 0.0
        return abs(self.difference) / self.tolerance if self.tolerance else math.inf


def compare(decision: Decision) -> Comparison | None:
    """Compare a claim's number with ours; of several networks, take the one with the largest difference.

    Returns
    -------
    Comparison or None
        None if the claim states no number, or nothing was measured.
    """
    found = [_comparison(t, e) for t, e in _pairs(decision) if t.rule == "equals" and math.isfinite(e.value)]
    return max(found, key=lambda c: c.tolerances, default=None)


def _pairs(decision: Decision) -> Iterable[tuple[Test, Evidence]]:
    """Pair each number with its test, where the pairing is certain."""
    tests, evidence = decision.claim.tests, decision.evidence
    if len(tests) == 1:
        return [(tests[0], e) for e in evidence]
    return zip(tests, evidence, strict=True) if len(tests) == len(evidence) else []


def _comparison(test: Test, evidence: Evidence) -> Comparison:
    low, high = (evidence.low, evidence.high) if math.isfinite(evidence.low) else (evidence.value, evidence.value)
    return Comparison(float(test.expected), evidence.value, low, high, (test.high - test.low) / 2)


def signed(value: float) -> str:
    """Return a difference with its sign, rounded for a reader."""
    return (f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}").replace("-", "−")


def by_kind(decisions: Sequence[Decision], places: Mapping[str, str], prices: Prices) -> list[dict[str, Any]]:
    """Return the claims of each kind, the largest difference first.

    Parameters
    ----------
    decisions : sequence of Decision
        The decisions on all claims.
    places : mapping of str to str
        Names of figures and tables in the text.
    prices : Prices
        Prices of missing trainings.
    """
    groups = []
    for kind in vocabulary.KINDS:
        mine = [d for d in decisions if d.claim.kind == kind]
        if not mine:
            continue
        counts = table.count(mine)
        groups.append(
            {
                "kind": kind,
                "title": KIND_TITLES[kind],
                "total": len(mine),
                "counts": [(v, n) for v, n in counts.items() if n],
                "claims": [row(d, places, prices) for d in sorted(mine, key=_rank)],
            }
        )
    return groups


def _rank(decision: Decision) -> tuple[float, int]:
    compared = compare(decision)
    place = ORDER.index(decision.verdict) if decision.verdict in ORDER else len(ORDER)
    return (-compared.tolerances if compared else 1.0, place)


def numbers(decision: Decision) -> dict[str, str]:
    """Return a claim's columns in the table: the printed number, ours, and the difference."""
    compared = compare(decision)
    return {
        "id": decision.claim.id,
        "says": decision.claim.says,
        "paper": decision.claim.value,
        "ours": table.shown(decision) if decision.evidence else "–",
        "difference": signed(compared.difference) if compared else "–",
        "verdict": decision.verdict,
    }


def row(decision: Decision, places: Mapping[str, str], prices: Prices) -> dict[str, Any]:
    """Return one claim, for the template."""
    claim = decision.claim
    section = claim.section if claim.section[:1] in "AT" and len(claim.section) > 3 else f"§ {claim.section}"
    facts = {
        "Rule": claim.rule if claim.rule != "none" else "",
        "Our reading": claim.reading,
        "Note": claim.note,
        "Power of the rule": claim.power,
        "Counted as": claim.same_as,
    }
    return {
        **numbers(decision),
        "where": f"p. {claim.page}, {section}",
        "chapter": claim.section.partition(",")[0],
        "figures": [(f, places.get(f, f)) for f in claim.figures],
        "reason": decision.reason,
        "finding": decision.finding[:1].upper() + decision.finding[1:],
        "facts": {name: text for name, text in facts.items() if text},
        "evidence": [_evidence(e) for e in decision.evidence],
        "cells": _groups(key for cell in decision.cells if (key := Key.parse(cell))),
        "missing": _groups(decision.missing),
        "missing_runs": len(decision.missing),
        "cost": prices.of(decision.missing),
    }


def _evidence(one: Evidence) -> dict[str, Any]:
    has_interval = one.n and math.isfinite(one.low)
    return {
        "what": one.what,
        "value": table.number(one.value),
        "sd": table.number(one.sd),
        "n": one.n or "",
        "interval": f"{table.number(one.low)} to {table.number(one.high)}" if has_interval else "",
        "verdict": one.verdict,
        "slug": slug(one.verdict),
    }


def _groups(keys: Iterable[Key]) -> list[dict[str, str]]:
    """Return each network and regime with its seeds."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in keys:
        found[key[:2]].append(str(key.seed))
    return [
        {"name": f"{a}/{r}", "anchor": f"cell-{a}-{r}", "seeds": ", ".join(seeds)} for (a, r), seeds in found.items()
    ]
