"""Statistics of runs with their standard errors, and the test of a rule by their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bnonly.paper.claim import Test
from bnonly.verdicts.verdict import FAILS, HOLDS, UNDECIDED, Evidence

LEVEL = 0.95
#: Numbers with a smaller difference are equal: counts and shares are exact except for rounding.
SLACK = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A statistic with its standard error, degrees of freedom (0: no error is known) and smallest number of replicates."""

    value: float
    error: float
    freedom: int
    n: int


def estimate(
    statistic: Callable[[list[float]], float],
    at: Sequence[Callable[[Sequence[int]], float]],
    seeds: Sequence[Sequence[int]],
) -> Estimate:
    """Return a statistic of several networks' runs and its jackknife standard error, leaving out one run at a time.

    The runs of different networks count as independent.  The mean of one network's runs gets the usual standard error.

    Parameters
    ----------
    statistic : callable
        Maps a list with one number for each network to one number.
    at : sequence of callable
        For each network, maps seeds to the network's number over them.
    seeds : sequence of sequences of int
        The replicates of each network.
    """
    whole, n = [value(mine) for value, mine in zip(at, seeds, strict=True)], min(map(len, seeds))
    found = statistic(whole)
    if n < 2 or not math.isfinite(found):
        return Estimate(found, math.nan, 0, n)
    variance = 0.0
    for i, mine in enumerate(seeds):
        rest = [at[i]([s for s in mine if s != out]) for out in mine]
        left_out = np.array([statistic([*whole[:i], r, *whole[i + 1 :]]) for r in rest])
        variance += (len(mine) - 1) / len(mine) * float(((left_out - left_out.mean()) ** 2).sum())
    return Estimate(found, math.sqrt(variance), sum(len(mine) - 1 for mine in seeds), n)


def interval(what: str, found: Estimate, test: Test, intervals: int, values: Sequence[float] = ()) -> Evidence:
    """Weigh a statistic by its intervals.

    Parameters
    ----------
    what : str
        Name of the statistic.
    found : Estimate
        The statistic.
    test : Test
        The rule.
    intervals : int
        Number of intervals behind the claim.  To refute it, one must lie outside at a level shared between all of them.
    values : sequence of float
        The values whose mean it is, for their standard deviation.
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    if not found.freedom:
        return Evidence(what, found.value, sd, found.n, math.nan, math.nan, UNDECIDED)
    near, wide = (_t(level, found.freedom) * found.error for level in (LEVEL, 1 - (1 - LEVEL) / intervals))
    verdict = UNDECIDED
    if _inside(found.value - near, found.value + near, test):
        verdict = HOLDS
    elif _outside(found.value - wide, found.value + wide, test):
        verdict = FAILS
    return Evidence(what, found.value, sd, found.n, found.value - near, found.value + near, verdict)


def _inside(low: float, high: float, test: Test) -> bool:
    if test.strict:
        return low > test.low and high < test.high
    return low >= test.low - SLACK and high <= test.high + SLACK


def _outside(low: float, high: float, test: Test) -> bool:
    if test.strict:
        return high <= test.low or low >= test.high
    return high < test.low - SLACK or low > test.high + SLACK


def exact(what: str, value: float, test: Test) -> Evidence:
    """Weigh a number that is known exactly."""
    slack = SLACK * max(1.0, abs(value))
    verdict = HOLDS if test.low - slack <= value <= test.high + slack else FAILS
    return Evidence(what, value, math.nan, 0, value, value, verdict)


@lru_cache(maxsize=1024)
def _t(level: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, freedom))
