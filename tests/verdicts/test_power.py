"""Every rule of a claim about training says yes if the paper is true, and not if it is not (power.yaml has what is assumed)."""

from __future__ import annotations

import pytest
from tests.verdicts.power import ASSUMED, Simulation

from bnonly.paper import catalog

#: How often a true claim must hold, and how often a false one may.
TRUE, FALSE = 0.8, 0.05
RUNS = 60
COUNTED = [c for c in catalog.load().claims if c.counted]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(RUNS)


@pytest.mark.parametrize("claim", COUNTED, ids=lambda c: c.id)
def test_a_rule_can_say_yes_and_no(simulation, claim):
    found = simulation.power(claim)
    enough = found.true >= TRUE and found.false <= FALSE
    if claim.power:
        assert not enough, f"{claim.id}: its rule has power; take its `power` out of claims.yaml"
    else:
        assert enough, (
            f"{claim.id} ({claim.rule}): holds in {found.true:.0%} if true, in {found.false:.0%} if false: {found}"
        )


def test_assumptions_are_about_claims_that_are_tried():
    assert {*ASSUMED["exceptions"], *ASSUMED["falsehoods"]} <= {c.id for c in COUNTED}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        # A rule that asks a range of every network cannot say yes, one without a margin cannot say no.
        ({"rule": "range", "low": 0.5, "high": 2, "tolerance": 0.3}, "R005"),
        ({"rule": "range", "low": 28, "high": 39, "tolerance": 1}, "R090"),
    ],
)
def test_rules_without_power_are_found(simulation, wrong, right):
    import dataclasses

    claim = next(c for c in COUNTED if c.id == right)
    test = claim.tests[0]
    low, high = wrong["low"] - wrong["tolerance"], wrong["high"] + wrong["tolerance"]
    blunt = dataclasses.replace(test, rule="range", reduce="each", low=low, high=high)
    found = simulation.power(dataclasses.replace(claim, tests=(blunt,)))
    assert found.true < TRUE or found.false > FALSE
