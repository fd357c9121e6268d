"""The report's head: the verdict on the paper, in a sentence and in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bnonly.console import listed
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.paper import vocabulary
from bnonly.verdicts import table, verdict
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import Decision

SHORT = {
    "result": "of training",
    "count": "counted",
    "setting": "settings",
    "axis": "axes",
    "definition": "definitions",
    "external": "of prior work",
}
#: Meaning of each verdict, for the legend of the summary.
MEANINGS = {
    verdict.HOLDS: "every interval lies inside the region that the rule accepts",
    verdict.FAILS: "an interval lies outside this region",
    verdict.UNDECIDED: "an interval is too wide to decide",
    verdict.NOT_RUN: "trainings are missing",
    verdict.NOT_APPLICABLE: "the results are of other data, or of another protocol",
    verdict.INCONSISTENT: "the paper's own numbers contradict it",
    verdict.EXTERNAL: "a result of prior work",
}


def headline(grid: Grid, measured: Measurements, decisions: Sequence[Decision]) -> tuple[str, list[str]]:
    """Return the verdict in one sentence, and the sentences below it."""
    results, counts = table.count([d for d in decisions if d.claim.counted]), table.count(decisions, ["count"])
    decided = results[verdict.HOLDS] + results[verdict.FAILS] + results[verdict.UNDECIDED]
    total = sum(results.values())
    own = [_own(d) for d in decisions if d.claim.counted and _own(d)]
    data = listed(dict.fromkeys(e.data.title for e in grid.experiments.values() if not e.data.paper))
    lead = []
    if not measured.labels:
        headline = f"Nothing has been trained yet: {total} claims wait for results"
    elif decided:
        headline = f"{results[verdict.HOLDS]} of the {decided} claims that were run hold"
        lead.append(
            f"Of the paper's {total} claims about training, {decided} were run: {results[verdict.HOLDS]} hold, "
            f"{results[verdict.FAILS]} do not, and {results[verdict.UNDECIDED]} are undecided."
        )
    elif data or own:
        where = data or "other settings than the paper's"
        headline = f"On {where}, {_split(own)}" if own else f"A run on {where}: it cannot reproduce the paper's numbers"
        lead.append(
            f"This run cannot reproduce the paper's numbers, and none of the {total} claims about training gets a verdict: "
            f"the paper trained on {_papers_data()}. Comparisons (which of two values is larger) and trends (up or "
            "down) can still be tested."
        )
        lead += _few_seeds(decisions)
    else:
        headline = f"None of the {total} claims about training can be decided yet"
    exact = counts[verdict.HOLDS] + counts[verdict.FAILS]
    lead.append(
        f"{counts[verdict.HOLDS]} of {exact} claims about parameter counts and structure hold; they need no training."
    )
    if n := sum(d.verdict == verdict.INCONSISTENT for d in decisions):
        lead.append(f"The paper's own numbers contradict {n} statements; each is shown with the arithmetic.")
    return headline, lead


def _few_seeds(decisions: Sequence[Decision]) -> list[str]:
    """Name few seeds as the reason why most comparisons and trends are undecided, if they are."""
    undecided = [d for d in decisions if d.claim.counted and _own(d) == verdict.UNDECIDED]
    seeds = Counter(e.n for d in undecided for e in d.evidence if e.n)
    if not seeds or (most := seeds.most_common(1)[0][0]) > 2:
        return []
    reason = (
        "A single seed has no interval."
        if most < 2
        else "With two seeds, a 95 % interval reaches 12.7 standard errors to either side; with three, 4.3."
    )
    return [f"{reason} Undecided means that the interval contains both answers, not that the paper is wrong."]


def _papers_data() -> str:
    return listed(d.title for d in DATASETS.values() if d.paper)


def _split(found: Sequence[str]) -> str:
    """Say how many comparisons and trends agree with the paper, and how many are undecided: with few seeds, most are."""
    n = Counter(found)
    return (
        f"{n[verdict.HOLDS]} of the paper's {len(found)} comparisons and trends hold, {n[verdict.FAILS]} "
        f"do{'es' if n[verdict.FAILS] == 1 else ''} not, and {n[verdict.UNDECIDED]} "
        f"{'is' if n[verdict.UNDECIDED] == 1 else 'are'} undecided"
    )


def _own(decision: Decision) -> str:
    """Return the outcome of a comparison or trend in a run on other data; empty for every other claim."""
    if decision.verdict != verdict.NOT_APPLICABLE or not decision.claim.ordering or not decision.finding:
        return ""
    return decision.finding.rpartition(": ")[2].removesuffix(" so far")


def orderings(decisions: Sequence[Decision]) -> list[dict[str, str]]:
    """Return the comparisons and trends checked in a run on other data, with their outcomes."""
    found = [
        {"id": d.claim.id, "says": d.claim.says, "ours": table.shown(d), "verdict": _own(d)}
        for d in decisions
        if d.claim.counted and _own(d)
    ]
    return sorted(found, key=lambda row: verdict.VERDICTS.index(row["verdict"]))


def tiles(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Return the number of claims with each verdict."""
    by_kind = {kind: table.count(decisions, [kind]) for kind in vocabulary.KINDS}
    return [
        {
            "verdict": name,
            "count": n,
            "meaning": MEANINGS[name],
            "parts": ", ".join(f"{by_kind[k][name]} {SHORT.get(k, k)}" for k in vocabulary.KINDS if by_kind[k][name]),
        }
        for name, n in table.count(decisions).items()
    ]
