"""A claim of the paper, its rules, and its experiments, as plain objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from bnonly.grid.cell import Architecture
from bnonly.paper.vocabulary import COUNT_METRICS, ORDERINGS, PLACES


@dataclass(frozen=True)
class PaperExperiment:
    """One of the paper's experiments: the properties of the cells that can support a claim."""

    dataset: str
    seeds: int
    architectures: Mapping[str, Architecture]


@dataclass(frozen=True)
class Selector:
    """EXPERIMENT/ARCHITECTURES/REGIMES; facts of a network need no regimes."""

    experiment: str
    architectures: str
    regimes: tuple[str, ...]

    @property
    def relative(self) -> bool:
        """Whether the architectures are given by position, so that a run with other architectures has them, too."""
        return self.architectures in PLACES

    def pick(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the selected architectures of an experiment, in its order."""
        half = len(names) // 2
        chosen: dict[str, Sequence[str]] = {
            "*": names,
            "first": names[:1],
            "last": names[-1:],
            "lower": names[: max(1, half)],
            "upper": names[len(names) - max(1, half) :],
            "but-last": names[:-1],
        }
        return tuple(chosen.get(self.architectures, tuple(self.architectures.split("+"))))


@dataclass(frozen=True)
class Test:
    """One rule about one quantity.

    Attributes
    ----------
    low, high : float
        The accepted region of values, including the tolerance.
    strict : bool
        Whether the bounds themselves are rejected.
    minus : str
        A regime of the same network, or a selector; its value is subtracted, paired by seed.  Empty: nothing.
    over : Test or None
        The divisor of a count.
    expected : object
        For settings, structure and counts of runs: the expected value.
    """

    __test__ = False  # pytest must not collect it

    rule: str
    metric: str
    of: tuple[Selector, ...]
    minus: str = ""
    over: Test | None = None
    reduce: str = "each"
    low: float = -inf
    high: float = inf
    strict: bool = False
    thresholds: tuple[float, ...] = ()
    bounds: tuple[float, float] = (-inf, inf)
    key: str = ""
    expected: Any = None
    words: str = ""

    @property
    def kind(self) -> str:
        """The source of its value: a "setting", a "count" or a "result"."""
        if self.rule == "setting":
            return "setting"
        return "count" if self.rule == "structure" or self.metric in COUNT_METRICS else "result"

    @property
    def directional(self) -> bool:
        """Whether the test is about an ordering, not about a size."""
        about_zero = self.minus and self.rule in ("at_most", "at_least") and self.expected == 0
        return self.rule in ORDERINGS or bool(about_zero)

    @property
    def ordering(self) -> bool:
        """Whether a run of other networks can show it: it is about an ordering, and names no network of the paper."""
        selectors = [*self.of, *([parse_selector(self.minus)] if "/" in self.minus else [])]
        return self.directional and all(s.relative for s in selectors)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of the paper.

    Attributes
    ----------
    value : str
        As printed in the paper.
    inconsistent : str
        The arithmetic by which the paper's own numbers contradict the claim; empty if there is none.
    external : str
        The reason why the claim is outside this paper's experiments; empty otherwise.
    reading, note : str
        Our reading of vague words; further remarks.
    named : str
        The kind, if it does not follow from the tests: "axis" or "definition".
    same_as : str
        The same claim elsewhere in the paper; only that one counts.
    power : str
        The reason why the rule separates truth from falsehood less surely than others; empty otherwise.
    """

    id: str
    page: int
    section: str
    figures: tuple[str, ...]
    says: str
    value: str
    tests: tuple[Test, ...]
    inconsistent: str = ""
    external: str = ""
    reading: str = ""
    note: str = ""
    named: str = ""
    same_as: str = ""
    power: str = ""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.named or (self.tests[0].kind if self.tests else "external")

    @property
    def counted(self) -> bool:
        """Whether a training could refute the claim; each claim counts once."""
        return self.kind == "result" and not self.same_as

    @property
    def ordering(self) -> bool:
        """Whether a run on other data can show it."""
        directional = self.kind == "result" and all(t.directional for t in self.tests)
        return directional and any(t.ordering for t in self.tests)

    @property
    def rule(self) -> str:
        """The rule in words."""
        return "; ".join(dict.fromkeys(t.words for t in self.tests)) or "none"


@dataclass(frozen=True)
class Catalog:
    """All claims and the paper's experiments."""

    source: str
    experiments: Mapping[str, PaperExperiment]
    claims: tuple[Claim, ...]


def parse_selector(text: str) -> Selector:
    """Split ``cifar-depth/*/bn``."""
    parts = [*text.split("/"), "", ""]
    return Selector(parts[0], parts[1], tuple(r for r in parts[2].split("+") if r))
