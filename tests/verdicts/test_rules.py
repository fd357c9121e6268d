"""Every rule, metric and reduction on made-up results with known answers, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.figures import synthetic

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid, resolve
from bnonly.paper import catalog
from bnonly.verdicts import judge, verdict
from bnonly.verdicts.verdict import FAILS, HOLDS, NOT_APPLICABLE, NOT_RUN, UNDECIDED

DEPTHS = ("ResNet-14", "ResNet-32", "ResNet-56")
WIDTHS = ("WRN-14-2", "WRN-14-4", "WRN-14-8")
SMALL = ("ResNet-8-c2", "ResNet-14-c2", "ResNet-8-c4", "ResNet-8-c8")
SEEDS = 5
#: Deviations from a cell's mean: mean 0, standard deviation 1.
NOISE = np.array([-1.2649110640673518, -0.6324555320336759, 0.0, 0.6324555320336759, 1.2649110640673518])
CHANNELS = 1000
#: Experiments of the paper as the claims file has them; read once, which takes half a second.
STATED = yaml.safe_load(catalog.SOURCE.read_text())["experiments"]


def config() -> dict:
    """The paper's configuration with few networks."""
    found = synthetic.paper_config()
    for name, networks in (("cifar-depth", DEPTHS), ("cifar-width", WIDTHS), ("small", SMALL)):
        found["experiments"][name]["architectures"] = list(networks)
    found["experiments"]["cifar-depth"]["case_study"] = "ResNet-56"
    for name in ("imagenet", "vgg", "text-depth", "text-width"):
        del found["experiments"][name]
    return found


@pytest.fixture(scope="session")
def grid() -> Grid:
    return resolve(config())


def claims(folder: Path, *tests: dict, also: dict | None = None, **keys) -> Path:
    """A claims file with one claim, about the few networks."""
    few = {"cifar-depth": DEPTHS, "cifar-width": WIDTHS, "small": SMALL}
    experiments = {
        name: {
            **STATED[name],
            "architectures": {a: STATED[name]["architectures"][a] for a in found},
        }
        for name, found in few.items()
    }
    body = {"page": 1, "section": "1", "says": "made up", "value": "0", **keys}
    if tests:
        body["tests"] = list(tests)
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"experiments": experiments, "claims": {"X001": body, **(also or {})}}))
    catalog.load.cache_clear()
    return path


def gammas(metric: str, value: float, rng) -> np.ndarray:
    """gammas of which a metric has a value."""
    chosen = np.arange(CHANNELS) < round(value * CHANNELS / 100)
    if metric == "gamma_sd":
        return value * np.where(np.arange(CHANNELS) % 2, 1.0, -1.0)
    if metric in ("gamma_mean", "gamma_magnitude"):
        return np.full(CHANNELS, value)
    if metric == "gamma_normal_distance":
        return rng.normal(size=CHANNELS) if value == 0 else np.repeat([0.0, 1.0], CHANNELS // 2)
    inside, outside = {
        "small_gammas": (0.001, 1),
        "gamma_positive": (1, -1),
        "gamma_negative": (-1, 1),
        "gamma_within": (0, 9),
    }[metric]
    return np.where(chosen, inside, outside)


def make(root: Path, grid: Grid, metric: str, values: dict[str, float], sd: float = 0.1, seeds: int = SEEDS) -> None:
    """Write results in which a metric has the given mean ("ResNet-14/bn": 60.0) and deviation over the seeds."""
    rng = np.random.default_rng(0)
    for name, mean in values.items():
        architecture, regime = name.split("/")
        for seed in range(seeds):
            cell, value = grid.cell(architecture, regime, seed), mean + sd * NOISE[seed]
            kind, known = "metrics", {}
            if metric in ("top1", "top5"):
                known = {f"test_{metric}": [0.1, value / 100]}
            synthetic.write_one(root, cell, "metrics", **known)
            if metric == "clamping_change":
                kind, known = "clamping", {"threshold": [0.0, 0.01], "test_top1": [0.5, 0.5 + value / 100], "gammas": [1, 1], "clamped": [0, 1], "test_loss": [1.0, 1.0], "test_top5": [0.9, 0.9]}  # fmt: skip
            elif metric in ("disabled_activations", "constant_activations", "sometimes_active"):
                off = {
                    "disabled_activations": (1.0, 0.5),
                    "constant_activations": (0.0, 0.5),
                    "sometimes_active": (0.5, 0.95),
                }[metric]
                zero = np.where(np.arange(CHANNELS) < round(value * CHANNELS / 100), *off)
                kind, known = "activations", {"relu": ["r"] * CHANNELS, "relu_index": [0] * CHANNELS, "channel": range(CHANNELS), "zero": zero}  # fmt: skip
                known["channel"] = np.arange(CHANNELS)
            elif metric not in ("top1", "top5"):
                kind = "batchnorm"
                zeros = np.zeros(CHANNELS)
                known = {name: zeros for name in "gamma_start beta_start beta_end mean_start mean_end".split()}
                known |= {"layer": ["bn"] * CHANNELS, "layer_index": zeros.astype(int), "channel": np.arange(CHANNELS)}
                known |= {"variance_start": zeros + 1, "variance_end": zeros + 1, "gamma_end": zeros}
                if metric == "small_betas":
                    known["beta_end"] = gammas("small_gammas", value, rng)
                else:
                    known["gamma_end"] = gammas(metric, value, rng)
            if kind != "metrics":
                synthetic.write_one(root, cell, kind, most=CHANNELS, **known)


def decide_one(tmp_path: Path, grid: Grid, *tests: dict, **keys) -> verdict.Decision:
    return judge.judge(grid, claims(tmp_path, *tests, **keys), tmp_path)[1][0]


def line(regime: str, *values: float, networks=DEPTHS) -> dict[str, float]:
    return {f"{a}/{regime}": v for a, v in zip(networks, values, strict=True)}


ONE = {"metric": "top1", "of": "cifar-depth/ResNet-14/bn"}
ALL = {"metric": "top1", "of": "cifar-depth/*/bn"}
AGAINST = {**ALL, "minus": "rand2"}


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
        # another network, and a reduction over several
        ({"rule": "equals", "to": 7, "tolerance": 1, "metric": "top1", "of": "cifar-depth/ResNet-56/bn", "minus": "cifar-width/WRN-14-2/bn"}, {"ResNet-56/bn": 67, "WRN-14-2/bn": 60}, 0.2, HOLDS),
        ({"rule": "equals", "to": 7, "tolerance": 1, "metric": "top1", "of": "cifar-depth/ResNet-56/bn", "minus": "cifar-width/WRN-14-2/bn"}, {"ResNet-56/bn": 67, "WRN-14-2/bn": 65}, 0.2, FAILS),
        ({"rule": "equals", "to": 60, "tolerance": 1, "reduce": "mean", **ALL}, line("bn", 40, 60, 80), 0.2, HOLDS),
        ({"rule": "equals", "to": 60, "tolerance": 1, "reduce": "mean", **ALL}, line("bn", 60, 60, 80), 0.2, FAILS),
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
GAP = {
    "rule": "range",
    "low": 5,
    "high": 10,
    "metric": "top1",
    "reduce": "best_equal_count_gap",
    "of": ["small/*/all", "cifar-depth/*/bn"],
}
STRATA = {"rule": "greater", "metric": "top1", "reduce": "stratum_gap", "of": "small/*/all"}


@pytest.mark.parametrize(
    ("test", "values", "verdict"),
    [
        # slopes of 5.9 and 5 points a doubling: 18 % steeper
        ({**BOTH, "of": ["cifar-depth/*/bn", "cifar-width/*/bn"]}, line("bn", 59.77, 66.48, 71.14) | line("bn", 55, 60, 65, networks=WIDTHS), HOLDS),
        ({**BOTH, "of": ["cifar-depth/*/bn", "cifar-width/*/bn"]}, line("bn", 50.65, 56.33, 60.28) | line("bn", 55, 60, 65, networks=WIDTHS), FAILS),
        (GAP, line("all", 50, 50, 50, 57, networks=SMALL) | line("bn", 50, 50, 50), HOLDS),
        (GAP, line("all", 50, 50, 50, 53, networks=SMALL) | line("bn", 50, 50, 50), FAILS),
        (STRATA, line("all", 50, 52, 60, 61, networks=SMALL), HOLDS),
        (STRATA, line("all", 60, 62, 50, 51, networks=SMALL), FAILS),
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
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60}, seeds=1)
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 60, "tolerance": 5, **ONE})
    assert found.verdict == UNDECIDED and "single run" in found.reason


def test_missing_cells_are_named(tmp_path, grid):
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    (tmp_path / paths.metrics(Key("ResNet-32", "bn", 3).folder)).unlink()
    assert decide_one(tmp_path, grid, {"rule": "trend", "direction": "rising", **ALL}).verdict == HOLDS
    for seed in range(SEEDS):
        (tmp_path / paths.metrics(Key("ResNet-32", "bn", seed).folder)).unlink(missing_ok=True)
    found = decide_one(tmp_path, grid, {"rule": "trend", "direction": "rising", **ALL})
    assert found.verdict == NOT_RUN and found.missing == tuple(("ResNet-32", "bn", s) for s in range(SEEDS))


def test_a_run_without_a_finite_value_is_left_out(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    synthetic.write_one(tmp_path, grid.cell("ResNet-14", "bn", 0), "metrics", test_top1=[0.1, np.nan])
    (evidence,) = decide_one(tmp_path, grid, {"rule": "at_least", "to": 50, **ONE}).evidence
    assert evidence.n == 4


def other(change) -> Grid:
    found = config()
    change(found)
    return resolve(found)


def test_other_data_never_reproduce_the_paper(tmp_path):
    def digits(found):
        found["recipes"]["cifar10"] = {"dataset": "digits", "epochs": 4, "batch_size": 64, "lr": 0.1, "milestones": [2]}

    grid = other(digits)
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70) | line("rand2", 40, 50, 60))
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "") and "handwritten digits" in found.reason
    found = decide_one(tmp_path, grid, {"rule": "greater", **AGAINST})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "on handwritten digits: holds")
    found = decide_one(tmp_path, grid, {"rule": "trend", "direction": "falling", **ALL})
    assert (found.verdict, found.finding) == (NOT_APPLICABLE, "on handwritten digits: does not hold")
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
    assert len(decisions) == 325
    assert {d.verdict for d in decisions if d.claim.kind == "result"} <= {
        NOT_APPLICABLE,
        NOT_RUN,
        verdict.INCONSISTENT,
    }


def test_another_schedule_is_another_protocol(tmp_path):
    grid = other(lambda found: found.update(scale=0.05))
    make(tmp_path, grid, "top1", line("bn", 50, 60, 70))
    setting = {"rule": "setting", "key": "recipe.epochs", "to": 160, "of": "cifar-depth/*/*"}
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE})
    assert found.verdict == HOLDS  # nothing in this file says what the protocol is
    protocol = {"X002": {"page": 1, "section": "B", "says": "epochs", "value": "160", "tests": [setting]}}
    found = decide_one(tmp_path, grid, {"rule": "equals", "to": 50, "tolerance": 5, **ONE}, also=protocol)
    assert found.verdict == NOT_APPLICABLE and "recipe.epochs is 8, the paper has 160" in found.reason


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


# Bad input.


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"rule": "equal", "to": 1, **ONE}, "X001: rule is 'equal'; there is no such rule; did you mean 'equals'?"),
        ({"rule": "equals", **ONE}, "X001: rule equals needs to"),
        ({"rule": "equals", "to": "x", **ONE}, "X001: to is 'x'; a number is wanted"),
        ({"rule": "equals", "to": 1, "metric": "top2", "of": "cifar-depth/*/bn"}, "X001: metric is 'top2'; there is no such metric"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-dept/*/bn"}, "X001: of is 'cifar-dept'; there is no such experiment"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/ResNet-15/bn"}, "the experiment has no such network; did you mean 'ResNet-56'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bm"}, "X001: of is 'bm'; there is no such regime; did you mean 'bn'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bn", "minus": "rand3"}, "X001: of is 'rand3'; there is no such regime"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*"}, "EXPERIMENT/ARCHITECTURES/REGIME is wanted"),
        ({"rule": "equals", "to": 1, "tolerence": 2, **ONE}, "X001: tolerence is no key of a test; did you mean 'tolerance'?"),
        ({"rule": "range", "low": 3, "high": 2, **ONE}, "X001: low is 3; at most high, 2, is wanted"),
        ({"rule": "greater", **ONE}, "X001: rule greater needs minus"),
        ({"rule": "trend", "direction": "up", **ALL}, "X001: direction is 'up'; rising or falling is wanted"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "of": "cifar-depth/*/bn"}, "X001: threshold is None"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "threshold": 0.02, "of": "cifar-depth/*/bn"}, "X001: threshold is 0.02; one of 0.01, 0.05, 0.1"),
        ({"rule": "equals", "to": 1, "reduce": "median", **ONE}, "X001: reduce is 'median'"),
        ({"rule": "structure", "fact": "depth", "to": 1, "of": "cifar-depth/*"}, "X001: fact is 'depth'"),
        ({"rule": "setting", "key": "recipe.epoch", "to": 1, "of": "cifar-depth/*/*"}, "X001: key is 'recipe.epoch'; there is no such setting; did you mean 'recipe.epochs'?"),
        ({"rule": "equals", "to": 1, **ALL, "minus": "cifar-width/*/bn"}, "X001: minus is 'cifar-width/*/bn'; one network, or '=' for the same"),
        ({"rule": "equals", "to": 1, "metric": "total", "reduce": "slope", "of": "cifar-depth/*"}, "X001: reduce is 'slope'; not with total"),
        ({"rule": "count", "to": 1, **ALL}, "X001: metric is 'top1'; rule count counts runs"),
        ({"rule": "equals", "to": 1, "metric": "gamma_within", "bounds": 3, "of": "cifar-depth/*/bn"}, "X001: bounds is 3; two numbers are wanted"),
        ({"rule": "equals", "to": 1, "metric": "total", "of": "cifar-depth/*", "over": {"metric": "total", "of": "cifar-depth/*"}}, "a count of one named network is wanted"),
    ],
)  # fmt: skip
def test_mistakes_in_a_claims_file(tmp_path, grid, test, message):
    with pytest.raises(UserError) as mistake:
        decide_one(tmp_path, grid, test)
    text = str(mistake.value)
    assert message in text and text.startswith(str(tmp_path / "claims.yaml")) and "\n" not in text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"figures": ["fig26"]}, "X001: figures is 'fig26'; no figure or table is called so; did you mean 'fig2"),
        ({"page": "one"}, "X001: page is 'one'; a number is wanted"),
        ({"colour": 1}, "X001: colour is no key of a claim"),
        ({"external": "both"}, "X001: give either tests, or external"),
    ],
)
def test_mistakes_in_a_claim(tmp_path, grid, keys, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        decide_one(tmp_path, grid, {"rule": "equals", "to": 1, **ONE}, **keys)


def test_tests_of_several_kinds_are_several_claims(tmp_path, grid):
    with pytest.raises(UserError, match=r"several kinds \(count, result\); make a claim of each"):
        decide_one(
            tmp_path,
            grid,
            {"rule": "equals", "to": 1, **ONE},
            {"rule": "equals", "to": 1, "metric": "total", "of": "cifar-depth/*"},
        )


def test_a_claims_file_that_is_none(tmp_path, grid):
    path = tmp_path / "claims.yaml"
    for text, message in (
        ("- 1", "a mapping"),
        ("claim: {}", "claim is no part of a claims file; did you mean 'claims'"),
    ):
        path.write_text(text)
        catalog.load.cache_clear()
        with pytest.raises(UserError, match=message):
            judge.judge(grid, path, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(engine="fast"), "engine"),
        (lambda found: found["recipes"]["cifar10"].update(dataset="cifar10-jpeg"), "two data sets are not compared"),
    ],
)
def test_results_of_two_engines_or_data_sets_are_refused(tmp_path, change, message):
    base = config()
    base |= {"engine": "reference", "precision": "fp32"}
    mine = resolve(base)
    make(tmp_path, mine, "top1", {"ResNet-14/bn": 60})
    change(base)
    theirs = resolve(base)
    make(tmp_path, theirs, "top1", {"ResNet-32/bn": 60})
    with pytest.raises(UserError, match=message) as mistake:
        judge.judge(mine, root=tmp_path)
    assert "ResNet-32/bn/seed0/metrics.parquet" in str(mistake.value) and "\n" not in str(mistake.value)


def test_data_of_one_name_but_other_content_are_refused(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    synthetic.write_one(tmp_path, grid.cell("ResNet-32", "bn", 0), "metrics", data_sha256="1" * 64)
    with pytest.raises(UserError, match="was trained on other cifar10 data than"):
        judge.judge(grid, root=tmp_path)


def test_damaged_and_stale_files_count_as_missing_and_are_named(tmp_path, grid):
    make(tmp_path, grid, "top1", {"ResNet-14/bn": 60})
    (tmp_path / paths.metrics(Key("ResNet-14", "bn", 0).folder)).write_bytes(b"PAR1")
    found = config()
    found["regimes"]["bn"]["override"] = {"lr": 0.2}
    synthetic.write_one(tmp_path, resolve(found).cell("ResNet-14", "bn", 1), "metrics")
    measured, _ = judge.judge(grid, root=tmp_path)
    assert set(measured.unusable) == {("ResNet-14", "bn", 0), ("ResNet-14", "bn", 1)}
    assert (
        "damaged" in measured.unusable["ResNet-14", "bn", 0] and "recipe.lr" in measured.unusable["ResNet-14", "bn", 1]
    )
