"""The report's head: what of the paper holds, in a sentence, in numbers and in bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bnonly.console import slug
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.paper import vocabulary
from bnonly.verdicts import table, verdict
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import Decision

KIND_TITLES = {
    "result": "Results of training",
    "count": "Parameter counts and structure",
    "setting": "Settings",
    "axis": "Axes of figures",
    "definition": "Definitions",
    "external": "Prior work",
}
SHORT = {
    "result": "of training",
    "count": "counted",
    "setting": "settings",
    "axis": "axes",
    "definition": "definitions",
    "external": "of prior work",
}
#: What each verdict means, for the legend of the summary.
MEANINGS = {
    verdict.HOLDS: "every interval lies inside what the rule accepts",
    verdict.FAILS: "an interval lies outside",
    verdict.UNDECIDED: "an interval is too wide to say",
    verdict.NOT_RUN: "trainings are missing",
    verdict.NOT_APPLICABLE: "the results are of other data, or of another protocol",
    verdict.INCONSISTENT: "the paper's own numbers contradict it",
    verdict.EXTERNAL: "a result of prior work",
}


def headline(grid: Grid, measured: Measurements, decisions: Sequence[Decision]) -> tuple[str, list[str]]:
    """Return the headline and the sentences below it."""
    results, counts = table.count([d for d in decisions if d.claim.counted]), table.count(decisions, ["count"])
    decided = results[verdict.HOLDS] + results[verdict.FAILS] + results[verdict.UNDECIDED]
    training = sum(results.values())
    exact = counts[verdict.HOLDS] + counts[verdict.FAILS]
    data = list(
        dict.fromkeys(DATASETS[e.dataset].title for e in grid.experiments.values() if not DATASETS[e.dataset].paper)
    )
    lead = []
    if not measured.labels:
        headline = f"Nothing has been trained yet: {training} claims wait for results"
    elif decided:
        headline = f"{results[verdict.HOLDS]} of the {decided} claims that were run hold"
        lead.append(
            f"Of the paper's {training} claims about training, {decided} could be decided: {results[verdict.HOLDS]} hold, "
            f"{results[verdict.FAILS]} do not, and {results[verdict.UNDECIDED]} are undecided."
        )
    elif data:
        headline = f"A run on {' and '.join(data)}: it cannot reproduce the paper's numbers"
    else:
        headline = f"None of the {training} claims about training can be decided yet"
    elsewhere = [d for d in decisions if d.verdict == verdict.NOT_APPLICABLE and d.claim.ordering and d.finding]
    if elsewhere:
        found = Counter(d.finding.rpartition(": ")[2].removesuffix(" so far") for d in elsewhere)
        parts = ", ".join(
            f"{n} {'are undecided' if w == verdict.UNDECIDED else _plural(w, n)}" for w, n in found.most_common()
        )
        lead.append(
            f"{len(elsewhere)} of the paper's claims say which is more or which way a trend goes. Looked at on this run's own "
            f"terms ({' and '.join(data) or 'another protocol'}): {parts}. That is not a verdict on the paper."
        )
    lead.append(
        f"{counts[verdict.HOLDS]} of {exact} claims about parameter counts and structure hold exactly; these need no training."
    )
    if n := sum(d.verdict == verdict.INCONSISTENT for d in decisions):
        lead.append(f"{n} statements are contradicted by the paper's own numbers; each is shown with the arithmetic.")
    return headline, lead


def _plural(found: str, n: int) -> str:
    if n == 1:
        return found
    return {verdict.HOLDS: "hold", verdict.FAILS: "do not hold"}.get(found, found)


def tiles(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Return how many claims have each verdict."""
    by_kind = {kind: table.count(decisions, [kind]) for kind in vocabulary.KINDS}
    return [
        {
            "verdict": name,
            "slug": slug(name),
            "count": n,
            "meaning": MEANINGS[name],
            "parts": ", ".join(f"{by_kind[k][name]} {SHORT[k]}" for k in vocabulary.KINDS if by_kind[k][name]),
        }
        for name, n in table.count(decisions).items()
    ]


def kinds(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Return the verdicts on each kind of claim, and the bar that shows them."""
    out = []
    for kind in vocabulary.KINDS:
        counts, x, bar = table.count(decisions, [kind]), 0.0, []
        total = sum(counts.values())
        for name, n in counts.items():
            if n:
                bar.append({"slug": slug(name), "x": f"{x:.2f}", "width": f"{1000 * n / total:.2f}"})
                x += 1000 * n / total
        out.append({"title": KIND_TITLES[kind], "kind": kind, "counts": counts, "total": total, "bar": bar})
    return out
