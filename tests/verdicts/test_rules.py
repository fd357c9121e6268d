"""Every rule, metric and reduction on made-up results with known answers, both ways."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from tests.figures import synthetic
from tests.verdicts.made_up import (
    AGAINST,
    ALL,
    NOISE,
    ONE,
    SEEDS,
    SMALL,
    STATED,
    WIDTHS,
    config,
    decide_one,
    line,
    make,
    other,
)

from bnonly import paths
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.paper import catalog
from bnonly.verdicts import judge, verdict
from bnonly.verdicts.verdict import FAILS, HOLDS, NOT_APPLICABLE, NOT_RUN, UNDECIDED


@pytest.mark.parametrize(
    ("test", "values", "sd", "verdict"),
    [
        ({"rule": "equals", "to": 60, "tolerance": 1, **ONE}, {"ResNet-14/bn": 60.2}, 0.1, HOLDS),
        ({"rule": "equals", "to": 60, "tolerance": 1, **ONE}, {"ResNet-14/bn": 63}, 0.1, FAILS),
        ({"rule": "equals", "to": 60, "tolerance": 1, **ONE}, {"ResNet-14/bn": 60.2}, 3.0, UNDECIDED),
        ({"rule": "range", "low": 50, "high": 70, **ALL}, line("bn", 51, 60, 69), 0.1, HOLDS),
        ({"rule": "range", "low": 50, "high": 70, **ALL}, line("bn", 51, 60, 72), 0.1, FAILS),
        ({"rule": "range", "low": 50, "high": 70, **ALL}, line("bn", 51, 60, 70), 0.1, UNDECIDED),
        ({"rule": "range", "low": 50, "high": 70, "tolerance": 3, **ALL}, line("bn", 51, 60, 72), 0.1, HOLDS),
        ({"rule": "at_most", "to": 60, **ALL}, line("bn", 50, 55, 59), 0.1, HOLDS),
        ({"rule": "at_most", "to": 60, **ALL}, line("bn", 50, 55, 61), 0.1, FAILS),
        ({"rule": "at_least", "to": 60, **ALL}, line("bn", 61, 62, 63), 0.1, HOLDS),
        ({"rule": "at_least", "to": 60, **ALL}, line("bn", 61, 62, 59), 0.1, FAILS),
        ({"rule": "greater", **AGAINST}, line("bn", 50, 60, 70) | line("rand2", 40, 50, 60), 1.0, HOLDS),
        ({"rule": "greater", **AGAINST}, line("bn", 50, 60, 70) | line("rand2", 40, 50, 71), 0.1, FAILS),
        ({"rule": "smaller", "margin": 5, **AGAINST}, line("bn", 50, 60, 70) | line("rand2", 60, 70, 80), 1.0, HOLDS),
        ({"rule": "smaller", "margin": 5, **AGAINST}, line("bn", 50, 60, 70) | line("rand2", 60, 70, 73), 1.0, FAILS),
        ({"rule": "trend", "direction": "rising", **ALL}, line("bn", 50, 60, 70), 1.0, HOLDS),
        ({"rule": "trend", "direction": "rising", **ALL}, line("bn", 70, 60, 50), 1.0, FAILS),
        ({"rule": "trend", "direction": "rising", **ALL}, line("bn", 60, 60.1, 60.2), 3.0, UNDECIDED),
        # rises on the whole, but one step clearly falls
        ({"rule": "trend", "direction": "rising", **ALL}, line("bn", 50, 70, 60), 0.1, FAILS),
        ({"rule": "trend", "direction": "falling", **ALL}, line("bn", 70, 60, 50), 1.0, HOLDS),
        ({"rule": "trend", "direction": "falling", **AGAINST}, line("bn", 60, 60, 60) | line("rand2", 30, 40, 50), 1.0, HOLDS),
        ({"rule": "trend", "direction": "falling", **AGAINST}, line("bn", 60, 60, 60) | line("rand2", 30, 20, 10), 1.0, FAILS),
        # a tendency is not refuted by one step
        ({"rule": "tendency", "direction": "rising", **ALL}, line("bn", 50, 70, 60), 0.1, HOLDS),
        ({"rule": "tendency", "direction": "rising", **ALL}, line("bn", 60, 70, 50), 0.1, FAILS),
        ({"rule": "tendency", "direction": "falling", **ALL}, line("bn", 60, 70, 50), 0.1, HOLDS),
        # another network, and a reduction over several
        ({"rule": "equals", "to": 7, "tolerance": 1, "metric": "top1", "of": "cifar-depth/ResNet-56/bn", "minus": "cifar-width/WRN-14-2/bn"}, {"ResNet-56/bn": 67, "WRN-14-2/bn": 60}, 0.2, HOLDS),
        ({"rule": "equals", "to": 7, "tolerance": 1, "metric": "top1", "of": "cifar-depth/ResNet-56/bn", "minus": "cifar-width/WRN-14-2/bn"}, {"ResNet-56/bn": 67, "WRN-14-2/bn": 65}, 0.2, FAILS),
        ({"rule": "equals", "to": 60, "tolerance": 1, "reduce": "mean", **ALL}, line("bn", 40, 60, 80), 0.2, HOLDS),
        ({"rule": "equals", "to": 60, "tolerance": 1, "reduce": "mean", **ALL}, line("bn", 60, 60, 80), 0.2, FAILS),
        ({"rule": "equals", "to": 40, "tolerance": 1, "reduce": "min", **ALL}, line("bn", 60, 40, 80), 0.2, HOLDS),
        ({"rule": "equals", "to": 40, "tolerance": 1, "reduce": "min", **ALL}, line("bn", 60, 43, 80), 0.2, FAILS),
        ({"rule": "equals", "to": 80, "tolerance": 1, "reduce": "max", **ALL}, line("bn", 40, 80, 60), 0.2, HOLDS),
        ({"rule": "equals", "to": 80, "tolerance": 1, "reduce": "max", **ALL}, line("bn", 40, 83, 60), 0.2, FAILS),
        # 1120, 2464, 4256 parameters: log2 is 10.13, 11.27, 12.06
        ({"rule": "equals", "to": 5, "tolerance": 0.5, "reduce": "slope", **ALL}, line("bn", 50.65, 56.33, 60.28), 0.1, HOLDS),
        ({"rule": "equals", "to": 5, "tolerance": 0.5, "reduce": "slope", **ALL}, line("bn", 60, 60, 60), 0.1, FAILS),
        ({"rule": "at_least", "to": 0.99, "reduce": "r", **ALL}, line("bn", 50.65, 56.33, 60.28), 0.01, HOLDS),
        ({"rule": "at_least", "to": 0.99, "reduce": "r", **ALL}, line("bn", 60.28, 56.33, 50.65), 0.01, FAILS),
        ({"rule": "at_least", "to": 0.99, "reduce": "r2", **ALL}, line("bn", 49.35, 43.67, 39.72), 0.01, HOLDS),
        ({"rule": "at_least", "to": 0.99, "reduce": "r2", **ALL}, line("bn", 50, 70, 50), 0.01, FAILS),
        ({"rule": "at_most", "to": -0.5, "reduce": "log10_p", **ALL}, line("bn", 50.65, 56.33, 60.28), 0.01, HOLDS),
        ({"rule": "at_most", "to": -0.5, "reduce": "log10_p", **ALL}, line("bn", 50, 70, 51), 0.01, FAILS),
        ({"rule": "smaller", "reduce": "last_residual", **ALL}, line("bn", 50, 60, 62), 0.1, HOLDS),
        ({"rule": "smaller", "reduce": "last_residual", **ALL}, line("bn", 50, 52, 62), 0.1, FAILS),
    ],
)  # fmt: skip
def test_rules(tmp_path, grid, test, values, sd, verdict):
    make(tmp_path, grid, "top1", values, sd)
    found = decide_one(tmp_path, grid, test)
    assert found.verdict == verdict, found.evidence
    assert found.reason and set(found.cells) == {f"{name}/seed{s}" for name in values for s in range(SEEDS)}


BOTH = {"rule": "equals", "to": 18, "tolerance": 5, "metric": "top1", "reduce": "steeper"}
#: ResNet-8-c2 and ResNet-14-c2 have 10.47 and 11.54 doublings of parameters, between ResNet-14's 10.13 and ResNet-56's 12.06.
GAP = {"rule": "equals", "tolerance": 0.3, "metric": "top1", "of": ["small/*/all", "cifar-depth/*/bn"]}
STEEP = line("bn", 50.65, 56.33, 60.28)
STRATA = {"rule": "greater", "metric": "top1", "reduce": "stratum_gap", "of": "small/*/all"}


@pytest.mark.parametrize(
    ("test", "values", "verdict"),
    [
        # slopes of 5.9 and 5 points a doubling: 18 % steeper
        ({**BOTH, "of": ["cifar-depth/*/bn", "cifar-width/*/bn"]}, line("bn", 59.77, 66.48, 71.14) | line("bn", 55, 60, 65, networks=WIDTHS), HOLDS),
        ({**BOTH, "of": ["cifar-depth/*/bn", "cifar-width/*/bn"]}, line("bn", 50.65, 56.33, 60.28) | line("bn", 55, 60, 65, networks=WIDTHS), FAILS),
        # 52.35 and 57.7 on BatchNorm's line at their counts
        ({**GAP, "to": 7, "reduce": "best_gap"}, line("all", 59.35, 58.7, 99, 99, 99, networks=SMALL) | STEEP, HOLDS),
        ({**GAP, "to": 7, "reduce": "best_gap"}, line("all", 55.35, 58.7, 99, 99, 99, networks=SMALL) | STEEP, FAILS),
        ({**GAP, "to": 4, "reduce": "mean_gap"}, line("all", 59.35, 58.7, 0, 0, 0, networks=SMALL) | STEEP, HOLDS),
        ({**GAP, "to": 4, "reduce": "mean_gap"}, line("all", 59.35, 56.7, 0, 0, 0, networks=SMALL) | STEEP, FAILS),
        # ResNet-8-c4 has 12.35 doublings, ResNet-8-c8 more than any of the narrow ones
        (STRATA, line("all", 50, 52, 54, 55, 0, networks=SMALL), HOLDS),
        (STRATA, line("all", 50, 52, 54, 52, 99, networks=SMALL), FAILS),
    ],
)  # fmt: skip
def test_reductions_over_two_families(tmp_path, grid, test, values, verdict):
    make(tmp_path, grid, "top1", values)
    assert decide_one(tmp_path, grid, test).verdict == verdict


@pytest.mark.parametrize(
    ("metric", "value", "wrong", "more"),
    [
        ("top5", 80, 70, {}),
        ("small_gammas", 30, 60, {"threshold": 0.01}),
        ("small_betas", 30, 60, {"threshold": 0.01}),
        ("clamping_change", -5, 0, {"threshold": 0.01}),
        ("disabled_activations", 30, 60, {}),
        ("constant_activations", 30, 60, {}),
        ("sometimes_active", 30, 60, {}),
        ("gamma_magnitude", 3, 9, {}),
        ("gamma_mean", 3, 9, {}),
        ("gamma_sd", 3, 9, {}),
        ("gamma_positive", 30, 60, {}),
        ("gamma_negative", 30, 60, {}),
        ("gamma_within", 30, 60, {"bounds": [-1, 1]}),
    ],
)
def test_metrics(tmp_path, grid, metric, value, wrong, more):
    test = {"rule": "equals", "to": value, "tolerance": 0.5, "metric": metric, "of": "cifar-depth/ResNet-14/bn", **more}
    make(tmp_path, grid, metric, {"ResNet-14/bn": value}, 0.1)
    found = decide_one(tmp_path, grid, test)
    assert found.verdict == HOLDS and found.evidence[0].value == pytest.approx(value, abs=0.06)
    make(tmp_path, grid, metric, {"ResNet-14/bn": wrong}, 0.1)
    assert decide_one(tmp_path, grid, test).verdict == FAILS


def test_distance_from_a_normal_distribution(tmp_path, grid):
    test = {"rule": "at_most", "to": 0.1, "metric": "gamma_normal_distance", "of": "cifar-depth/ResNet-14/bn"}
    for value, expected in ((0, HOLDS), (1, FAILS)):
        make(tmp_path, grid, "gamma_normal_distance", {"ResNet-14/bn": value}, 0)
        assert decide_one(tmp_path, grid, test).verdict == expected


def test_failed_runs_are_counted(tmp_path, grid):
    test = {"rule": "count", "to": 2, "metric": "failed", "of": "cifar-depth/*/all_alt"}
    make(tmp_path, grid, "top1", line("all_alt", 90, 90, 90))
    assert decide_one(tmp_path, grid, test).verdict == FAILS
    synthetic.write_one(tmp_path, grid.cell("ResNet-56", "all_alt", 0), "metrics", stopped_at=0.9)  # diverged
    assert decide_one(tmp_path, grid, test).verdict == FAILS
    synthetic.write_one(
        tmp_path, grid.cell("ResNet-56", "all_alt", 1), "metrics", test_top1=[0.1, 0.12]
    )  # near guessing
    assert decide_one(tmp_path, grid, test).verdict == HOLDS


@pytest.mark.parametrize(("to", "verdict"), [(160, HOLDS), (90, FAILS)])
def test_settings(tmp_path, grid, to, verdict):
    test = {"rule": "setting", "key": "recipe.epochs", "to": to, "of": "cifar-depth/*/*"}
    assert decide_one(tmp_path, grid, test).verdict == NOT_RUN
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 50})
    assert decide_one(tmp_path, grid, test).verdict == verdict


def test_replicates_are_a_setting(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 50})
    test = {"rule": "setting", "key": "replicates", "of": "cifar-depth/*/*"}
    assert decide_one(tmp_path, grid, {**test, "to": 5}).verdict == HOLDS
    assert decide_one(tmp_path, grid, {**test, "to": 3}).verdict == FAILS


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ({"rule": "equals", "to": 1120, "metric": "batchnorm"}, HOLDS),
        ({"rule": "equals", "to": 1121, "metric": "batchnorm"}, FAILS),
        ({"rule": "equals", "to": 175258, "metric": "total"}, HOLDS),
        ({"rule": "at_most", "to": 0.6, "metric": "batchnorm_percent"}, FAILS),
        ({"rule": "equals", "to": 10, "metric": "chance"}, HOLDS),
        ({"rule": "structure", "fact": "layers", "to": 14}, HOLDS),
        ({"rule": "structure", "fact": "layers", "to": 15}, FAILS),
        ({"rule": "structure", "fact": "shortcut", "to": "1x1 + BatchNorm"}, HOLDS),
        ({"rule": "structure", "fact": "stride", "to": "1x1"}, FAILS),
        ({"rule": "structure", "fact": "stem_channels", "to": 16}, HOLDS),
        ({"rule": "equals", "to": 3.5, "metric": "batchnorm", "over": {"metric": "trainable", "of": "small/ResNet-8-c4/out"}}, FAILS),
        ({"rule": "equals", "to": 1120 / 170, "metric": "batchnorm", "over": {"metric": "trainable", "of": "small/ResNet-8-c4/out"}}, HOLDS),
    ],
)  # fmt: skip
def test_counts_need_no_results(tmp_path, grid, test, verdict):
    assert decide_one(tmp_path, grid, {**test, "of": "cifar-depth/ResNet-14"}).verdict == verdict


def test_trained_counts_and_differences_of_counts(tmp_path, grid):
    test = {"rule": "equals", "metric": "trainable", "of": "cifar-depth/*/rand2", "minus": "bn"}
    assert decide_one(tmp_path, grid, {**test, "to": 0}).verdict == HOLDS
    assert decide_one(tmp_path, grid, {**test, "to": 1}).verdict == FAILS
    test = {"rule": "equals", "tolerance": 0.05, "metric": "shortcut", "reduce": "exponent", "of": "cifar-width/*"}
    assert decide_one(tmp_path, grid, {**test, "to": 2}).verdict == HOLDS
    assert decide_one(tmp_path, grid, {**test, "to": 1}).verdict == FAILS
    test = {"rule": "equals", "metric": "output", "reduce": "largest_ratio", "to": 1}
    assert decide_one(tmp_path, grid, {**test, "of": "cifar-depth/*"}).verdict == HOLDS
    assert decide_one(tmp_path, grid, {**test, "of": "cifar-width/*"}).verdict == FAILS


def test_the_interval_is_students(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60}, sd=1)
    (evidence,) = decide_one(tmp_path, grid, {"rule": "at_least", "to": 50, **ONE}).evidence
    half = 2.7764451 / np.sqrt(5)  # t(0.975, 4), sd 1
    assert (evidence.n, evidence.sd) == (5, pytest.approx(1))
    assert (evidence.low, evidence.high) == (pytest.approx(60 - half), pytest.approx(60 + half))


def test_differences_are_paired_by_seed(tmp_path, grid):
    # Both vary much, and together: the difference does not.
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70) | line("rand2", 49, 59, 69), sd=5)
    found = decide_one(tmp_path, grid, {"rule": "greater", **AGAINST})
    assert found.verdict == HOLDS and all(e.high - e.low < 0.1 for e in found.evidence)


def test_networks_share_their_variance_where_replicates_are_few(tmp_path, grid):
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70), sd=1, seeds=2)
    evidence = decide_one(tmp_path, grid, {"rule": "at_least", "to": 40, **ALL}).evidence
    sd = abs(NOISE[0] - NOISE[1]) / np.sqrt(2)
    half = 3.1824463 * sd / np.sqrt(2)  # t(0.975, 3): a degree of freedom from each network
    assert [e.high - e.value for e in evidence] == pytest.approx([half] * 3)


def test_one_run_decides_nothing(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    for seed in range(1, SEEDS):
        synthetic.write_one(tmp_path, grid.cell("ResNet-14", "bn", seed), "metrics", test_top1=[0.1, np.nan])
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 60, "tolerance": 5, **ONE})
    assert found.verdict == UNDECIDED and "single run" in found.reason


def test_missing_runs_are_named(tmp_path, grid):
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    test = {"rule": "trend", "direction": "rising", "metric": "top1", "of": "cifar-depth/*/bn"}
    assert decide_one(tmp_path, grid, test).verdict == HOLDS
    (tmp_path / paths.metrics(Key("ResNet-32", "bn", 3).folder)).unlink()
    found = decide_one(tmp_path, grid, test)
    assert (found.verdict, found.missing) == (NOT_RUN, (("ResNet-32", "bn", 3),))
    found = decide_one(tmp_path, grid, {"rule": "at_least", "to": 40, **ALL})
    assert (found.verdict, found.finding) == (NOT_RUN, "so far: holds")


def test_a_network_with_two_names_counts_once(tmp_path):
    grid = other(lambda found: found["experiments"]["cifar-width"].update(architectures=["WRN-14-1", *WIDTHS]))
    test = {"rule": "equals", "to": 53, "tolerance": 0.2, "metric": "top1", "reduce": "mean"}
    experiments = {
        "cifar-depth": {**STATED["cifar-depth"], "architectures": {"ResNet-14": ["cifar-resnet", 14, 16]}},
        "cifar-width": STATED["cifar-width"],
    }
    path = tmp_path / "claims.yaml"
    body = {"page": 1, "section": "1", "says": "made up", "value": "0"}
    body["tests"] = [{**test, "of": ["cifar-depth/*/bn", "cifar-width/WRN-14-1+WRN-14-2+WRN-14-4/bn"]}]
    path.write_text(yaml.safe_dump({"experiments": experiments, "claims": {"X001": body}}))
    catalog.load.cache_clear()
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 50, "WRN-14-2/bn": 54, "WRN-14-4/bn": 55})
    (found,) = judge.judge(grid, path, tmp_path)[1]
    assert found.verdict == HOLDS and found.evidence[0].value == pytest.approx(53, abs=0.1)


def test_a_run_without_a_finite_value_is_left_out(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    synthetic.write_one(tmp_path, grid.cell("ResNet-14", "bn", 0), "metrics", test_top1=[0.1, np.nan])
    (evidence,) = decide_one(tmp_path, grid, {"rule": "at_least", "to": 50, **ONE}).evidence
    assert evidence.n == 4


def test_other_data_never_reproduce_the_paper(tmp_path):
    def digits(found):
        found["recipes"]["cifar10"] = {"dataset": "digits", "epochs": 4, "batch_size": 64, "lr": 0.1, "milestones": [2]}

    grid = other(digits)
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70) | line("rand2", 40, 50, 60))
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "")
    assert "handwritten digits instead of CIFAR-10" in found.reason
    found = decide_one(tmp_path, grid, {"rule": "greater", **AGAINST})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "in these runs: holds")
    found = decide_one(tmp_path, grid, {"rule": "trend", "direction": "falling", **ALL})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "in these runs: does not hold")
    found = decide_one(tmp_path, grid, {"rule": "setting", "key": "recipe.epochs", "to": 4, "of": "cifar-depth/*/*"})
    assert found.verdict == NOT_APPLICABLE


@pytest.mark.parametrize("kept", [("cifar-depth",), ("small",), ("cifar-width", "small")])
@pytest.mark.parametrize("networks", [1, 2])
def test_a_run_may_leave_out_experiments_and_networks(tmp_path, kept, networks):
    """Every claim of the paper gets a verdict, whatever part of the grid a run has, on whatever data."""
    found = config()
    found["recipes"]["cifar10"] = {"dataset": "digits", "epochs": 4, "batch_size": 64, "lr": 0.1, "milestones": [2]}
    found["experiments"] = {name: found["experiments"][name] for name in kept}
    for experiment in found["experiments"].values():
        experiment |= {"architectures": experiment["architectures"][:networks], "case_study": "", "seeds": [0, 1]}
    grid = resolve(found)
    for cell in grid.cells.values():
        if cell.regime.name in ("all", "bn", "rand2"):
            synthetic.write_one(tmp_path, cell, "metrics")
    decisions = judge.judge(grid, root=tmp_path)[1]
    assert len(decisions) == 336
    found = {d.verdict for d in decisions if d.claim.kind in ("result", "axis")}
    assert found <= {NOT_APPLICABLE, NOT_RUN, verdict.INCONSISTENT}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(scale=0.05), "8 of 160 epochs"),
        (lambda found: found["recipes"]["cifar10"].update(lr=0.01), "learning rate 0.01 instead of 0.1"),
        (lambda found: found["regimes"]["bn"].update(train=["gamma", "beta", "output"]), "bn also trains the output"),
        (lambda found: found["experiments"]["cifar-depth"].update(seeds=[0]), "1 of 5 seeds"),
    ],
)
def test_only_the_papers_own_cells_decide(tmp_path, change, words):
    grid = other(change)
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70), seeds=len(grid.experiments["cifar-depth"].seeds))
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE})
    assert found.verdict == NOT_APPLICABLE and words in found.reason and "\n" not in found.reason


def test_a_run_of_mixed_protocols_names_the_cells(tmp_path):
    def override(found):
        found["architectures"]["ResNet-14"]["override"] = {"epochs": 8, "milestones": [4, 6]}

    grid = other(override)
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    found = decide_one(tmp_path, grid, {"rule": "trend", "direction": "rising", **ALL})
    assert found.verdict == NOT_APPLICABLE and "ResNet-14: 8 of 160 epochs" in found.reason
    found = decide_one(
        tmp_path, grid, {"rule": "equals", "to": 60, "tolerance": 1, **ONE, "of": "cifar-depth/ResNet-32/bn"}
    )
    assert found.verdict == HOLDS


def test_engine_and_precision_leave_a_claim_applicable(tmp_path):
    grid = other(lambda found: found.update(engine="fast", precision="bf16"))
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    assert decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE}).verdict == HOLDS


def test_a_network_of_the_same_name_is_not_the_papers(tmp_path):
    grid = other(lambda found: found["architectures"]["ResNet-14"].update(depth=20))
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE})
    assert found.verdict == NOT_APPLICABLE and "depth 20" in found.reason


def test_an_inconsistent_claim_shows_arithmetic_and_finding(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, **ONE}, inconsistent="1 + 1 = 3")
    assert found.verdict == verdict.INCONSISTENT and "1 + 1 = 3" in found.reason
    assert found.finding == "as printed, of these results: does not hold"


def test_prior_work_is_not_rerun(tmp_path, grid):
    assert decide_one(tmp_path, grid, external="of others").verdict == verdict.EXTERNAL


@pytest.mark.parametrize(
    ("value", "n", "reason"),
    [
        (float("nan"), 5, "Too few networks for the rule's statistic."),  # a trend of one network
        (float("nan"), 0, "Too few networks for the rule's statistic."),
        (60.0, 1, "A single run has no interval; two or more are needed."),
        (60.0, 5, "The interval is too wide: it crosses the rule's bound."),
    ],
)
def test_an_undecided_claim_says_what_is_lacking(value, n, reason):
    evidence = verdict.Evidence("ResNet-14/bn", value, 0.1, n, 50, 70, UNDECIDED)
    assert verdict.reason_of(UNDECIDED, [evidence]) == reason
