"""The verdicts that there are, what one rests on, and how it reads."""

from __future__ import annotations

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
        Network and regime, or what the statistic is over.
    value, sd : float
        The statistic and, where it is a mean over runs, their standard deviation.
    n : int
        Replicates; 0 for what is known exactly.
    low, high : float
        95 % interval.
    verdict : str
        Of this number alone.
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
    """What became of a claim.

    Attributes
    ----------
    reason : str
        In a sentence.
    finding : str
        What the rule says of these results although the verdict is another: of other data, or of an inconsistent claim.
    cells : tuple of str
        The runs used.
    missing : tuple of (str, str, int)
        The paper's runs that it takes and that are not there.
    """

    claim: Claim
    verdict: str
    reason: str
    evidence: tuple[Evidence, ...] = ()
    cells: tuple[str, ...] = ()
    missing: tuple[Key, ...] = ()
    finding: str = ""


def of_all(verdicts: Iterable[str]) -> str:
    """Return the verdict on a claim from those on its numbers: all must hold, and one that does not is enough."""
    found = set(verdicts)
    if FAILS in found:
        return FAILS
    return HOLDS if found == {HOLDS} else UNDECIDED


def reason_of(verdict: str, evidence: Sequence[Evidence]) -> str:
    """Return the sentence that goes with a verdict on a result."""
    several = len(evidence) > 1
    if verdict == HOLDS:
        return (
            f"All {len(evidence)} intervals lie inside what the rule accepts."
            if several
            else "The interval lies inside."
        )
    bad = [e for e in evidence if e.verdict == FAILS]
    if verdict == FAILS:
        if not several:
            return "The interval lies outside what the rule accepts."
        return f"{len(bad)} of {len(evidence)} intervals outside what the rule accepts, {bad[0].what} first."
    open_ = [e for e in evidence if e.verdict == UNDECIDED]
    if any(e.n < 2 for e in open_):
        return "A single run has no interval; two or more are needed."
    if not several:
        return "The interval is too wide: it crosses the rule's bound."
    return (
        f"{len(open_)} of {len(evidence)} intervals are too wide: they cross the rule's bound, {open_[0].what} first."
    )
