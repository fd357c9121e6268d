"""The configurations behind the reports of these tests, and a claim with numbers of one's own."""

from __future__ import annotations

from pathlib import Path

from tests.figures import synthetic

from bnonly.grid.resolve import Grid, load_grid, resolve
from bnonly.paper.claim import Claim, Test
from bnonly.verdicts.verdict import FAILS, Decision, Evidence

ROOT = Path(__file__).resolve().parents[2]
PAPER = load_grid(ROOT / "config.yaml")
DRAWN = ["fig02", "fig03", "fig15"]


def small(**changes) -> Grid:
    return resolve({**synthetic.small_config(), **changes})


def decision(rule: str, expected: float, *values: float, half: float = 1.0, tests: int = 1) -> Decision:
    test = Test(rule, "top1", (), low=expected - half, high=expected + half, expected=expected)
    claim = Claim("X1", 1, "1", (), "says", str(expected), (test,) * tests)
    evidence = tuple(Evidence("net/bn", v, 0.5, 3, v - 1, v + 1, FAILS) for v in values)
    return Decision(claim, FAILS, "", evidence)
