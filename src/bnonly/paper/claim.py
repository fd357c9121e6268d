"""A statement of the paper, the rules that decide it, and the experiments it is about, as plain objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from bnonly.grid.cell import Architecture
from bnonly.paper.vocabulary import COUNT_METRICS, ORDERINGS, PLACES


@dataclass(frozen=True)
class PaperExperiment:
    """One of the paper's experiments: what a cell must be to be evidence for a claim."""

    dataset: str
    seeds: int
    architectures: Mapping[str, Architecture]


@dataclass(frozen=True)
class Selector:
    """EXPERIMENT/ARCHITECTURES/REGIMES; no regimes for what is known of a network."""

    experiment: str
    architectures: str
    regimes: tuple[str, ...]

    @property
    def relative(self) -> bool:
        """Whether the architectures go by their place, so that a run with others has them, too."""
        return self.architectures in PLACES

    def pick(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the architectures among an experiment's, in its order."""
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
        The region of values that pass; the tolerance is in it.
    strict : bool
        Whether the bounds themselves fail.
    minus : str
        A regime of the same network, or a selector, whose value is subtracted, paired by seed; empty: nothing.
    over : Test or None
        What a count is divided by.
    expected : object
        For settings, structure and counts of runs: what is wanted.
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
    direction: str = ""
    thresholds: tuple[float, ...] = ()
    bounds: tuple[float, float] = (-inf, inf)
    key: str = ""
    expected: Any = None
    words: str = ""

    @property
    def kind(self) -> str:
        """What decides it: a "setting", a "count" or a "result"."""
        if self.rule == "setting":
            return "setting"
        return "count" if self.rule == "structure" or self.metric in COUNT_METRICS else "result"

    @property
    def directional(self) -> bool:
        """Whether the test is about more or less, not about how much."""
        about_zero = self.minus and self.rule in ("at_most", "at_least") and self.expected == 0
        return self.rule in ORDERINGS or bool(about_zero)

    @property
    def ordering(self) -> bool:
        """Whether a run of other networks can show it: it is about more or less, and names no network of the paper."""
        selectors = [*self.of, *([parse_selector(self.minus)] if "/" in self.minus else [])]
        return self.directional and all(s.relative for s in selectors)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of the paper.

    Attributes
    ----------
    value : str
        As printed.
    inconsistent : str
        The arithmetic that shows the statement wrong by the paper's own numbers; empty: none is known.
    external : str
        Why the statement is not this paper's to reproduce; empty: it is.
    reading, note : str
        What we made of vague words; what else to know.
    named : str
        The kind, where it does not follow from the tests: "axis" or "definition".
    same_as : str
        The claim that says the same elsewhere in the paper; it alone is counted.
    power : str
        Why the rule cannot tell the paper from a falsehood as surely as the others; empty: it can.
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
        """Whether it is one of the statements that a training could refute, each counted once."""
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
