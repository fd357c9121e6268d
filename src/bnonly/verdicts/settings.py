"""Claims about settings: whether the trained cells' configuration agrees with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from bnonly.grid.cell import Cell, Key
from bnonly.grid.resolve import Grid
from bnonly.paper.claim import Claim, Selector
from bnonly.paper.vocabulary import NORMALISATION
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import FAILS, HOLDS, NOT_APPLICABLE, NOT_RUN, Decision, Evidence


def decide(claim: Claim, grid: Grid, measured: Measurements, foreign: list[str]) -> Decision:
    """Decide a claim about settings.

    Parameters
    ----------
    claim : Claim
        Its tests have the rule "setting".
    grid : Grid
        The run's configuration.
    measured : Measurements
        The run's results.
    foreign : list of str
        The experiments that the run trains on other data than the paper.
    """
    places = list(dict.fromkeys(s.experiment for t in claim.tests for s in t.of))
    differing = []
    for test in claim.tests:
        for selector in test.of:
            for cell, name in _configured(selector, grid):
                found = setting_of(cell, grid, selector.experiment, test.key)
                if found != test.expected:
                    differing.append(f"{name}: {test.key} is {_plain(found)}")
    first = f"{differing[0]}{f', and {len(differing) - 1} more' if len(differing) > 1 else ''}" if differing else ""
    finding = (first or "the configuration follows it") if any(p in grid.experiments for p in places) else ""
    elsewhere = [p for p in places if p in foreign]
    if elsewhere:
        data = grid.experiments[elsewhere[0]].data.title
        reason = f"These results are on {data}, with settings of their own."
        return Decision(claim, NOT_APPLICABLE, reason, finding=finding)
    used = [p for p in places if any(k in measured.labels for k in _keys(p, grid))]
    if not used:
        return Decision(claim, NOT_RUN, "Nothing of this has been trained.", finding=finding)
    verdict = FAILS if differing else HOLDS
    count = sum(k in measured.labels for p in used for k in _keys(p, grid))
    what = f"{count} runs of {', '.join(used)}"
    evidence = Evidence(what, math.nan, math.nan, 0, math.nan, math.nan, verdict)
    reason = f"Not followed: {first}." if differing else "Followed by every run."
    return Decision(claim, verdict, reason, (evidence,))


def _configured(selector: Selector, grid: Grid) -> Iterator[tuple[Cell, str]]:
    if selector.experiment not in grid.experiments:
        return
    experiment = grid.experiments[selector.experiment]
    for architecture in selector.pick(experiment.architectures):
        for regime in experiment.regimes:
            wanted = selector.regimes == ("*",) or regime in selector.regimes
            if wanted and architecture in experiment.architectures:
                yield grid.cell(architecture, regime, experiment.seeds[0]), f"{architecture}/{regime}"


def _keys(experiment: str, grid: Grid) -> list[Key]:
    if experiment not in grid.experiments:
        return []
    return list(grid.keys_of(grid.experiments[experiment]))


def setting_of(cell: Cell, grid: Grid, experiment: str, key: str) -> Any:
    """Return a setting of a cell, for example ``recipe.epochs``; "replicates" is a setting of its experiment."""
    if key == "replicates":
        return len(grid.experiments[experiment].seeds)
    if key == "normalisation":
        return NORMALISATION
    node: Any = cell
    for part in key.split("."):
        node = getattr(node, part)
    return node


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
