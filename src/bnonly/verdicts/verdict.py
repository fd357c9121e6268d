"""The possible verdicts, the evidence of a verdict, and its wording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnonly.grid.cell import Key
from bnonly.paper.claim import Claim

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
NOT_RUN, NOT_APPLICABLE = "not run", "not applicable"
INCONSISTENT, EXTERNAL = "paper inconsistent", "not to be rerun"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_RUN, NOT_APPLICABLE, INCONSISTENT, EXTERNAL)


@dataclass(frozen=True)
class Evidence:
    """One number behind a verdict.

    Attributes
    ----------
    what : str
        Network and regime, or the range of a statistic.
    value, sd : float
        The statistic and, for a mean over runs, their standard deviation.
    n : int
        Number of replicates; 0 for an exact number.
    low, high : float
        95 % interval.
    verdict : str
        The verdict on this number alone.
    """

    what: str
    value: float
    sd: float
    n: int
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Decision:
    """The verdict on a claim.

    Attributes
    ----------
    reason : str
        One sentence.
    finding : str
        The rule's outcome if the verdict is another: for other data, or an inconsistent claim.
    cells : tuple of str
        The runs used.
    missing : tuple of (str, str, int)
        The paper's runs that the claim needs and the run lacks.
    """

    claim: Claim
    verdict: str
    reason: str
    evidence: tuple[Evidence, ...] = ()
    cells: tuple[str, ...] = ()
    missing: tuple[Key, ...] = ()
    finding: str = ""


def of_all(verdicts: Iterable[str]) -> str:
    """Return the verdict on a claim from the verdicts on its numbers: all must hold, and one failure is enough."""
    found = set(verdicts)
    if FAILS in found:
        return FAILS
    return HOLDS if found == {HOLDS} else UNDECIDED


def reason_of(verdict: str, evidence: Sequence[Evidence]) -> str:
    """Return the reason for a verdict on a result, as a sentence."""
    several = len(evidence) > 1
    if verdict == HOLDS:
        return (
            f"All {len(evidence)} intervals lie inside the region that the rule accepts."
            if several
            else "The interval lies inside the region that the rule accepts."
        )
    bad = [e for e in evidence if e.verdict == FAILS]
    if verdict == FAILS:
        if not several:
            return "The interval lies outside the region that the rule accepts."
        return f"Outside the region that the rule accepts: {len(bad)} of {len(evidence)} intervals; the first is {bad[0].what}."
    open_ = [e for e in evidence if e.verdict == UNDECIDED]
    if any(math.isnan(e.value) for e in open_):
        return "Too few networks for the rule's statistic."
    if any(e.n < 2 for e in open_):
        return "A single run has no interval; two or more are needed."
    if not several:
        return "The interval is too wide: it crosses the rule's bound."
    return f"Too wide, because they cross the rule's bound: {len(open_)} of {len(evidence)} intervals; the first is {open_[0].what}."
