"""Mistakes in a claims file and results that must not be judged are refused in one line."""

from __future__ import annotations

import re

import pytest
from tests.figures import synthetic
from tests.verdicts.made_up import ALL, ONE, config, decide_one, make

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.paper import catalog
from bnonly.verdicts import judge


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"rule": "equal", "to": 1, **ONE}, "X001: unknown rule 'equal'; did you mean 'equals'?"),
        ({"rule": ["equals"], "to": 1, **ONE}, "X001: unknown rule \"['equals']\"; "),
        ({"rule": "equals", **ONE}, "X001: rule equals needs to"),
        ({"rule": "equals", "to": "x", **ONE}, "X001: to must be a number (got 'x')"),
        ({"rule": "equals", "to": 1, "metric": "top2", "of": "cifar-depth/*/bn"}, "X001: unknown metric 'top2'; "),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-dept/*/bn"}, "X001: unknown experiment 'cifar-dept'; did you mean 'cifar-depth'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/ResNet-15/bn"}, "unknown network of cifar-depth 'ResNet-15'; did you mean 'ResNet-56'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bm"}, "X001: unknown regime 'bm'; did you mean 'bn'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bn", "minus": "rand3"}, "X001: unknown regime 'rand3'; did you mean 'rand"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*"}, "must be EXPERIMENT/ARCHITECTURES/REGIME"),
        ({"rule": "equals", "to": 1, "tolerence": 2, **ONE}, "X001: unknown key 'tolerence'; did you mean 'tolerance'?"),
        ({"rule": "range", "low": 3, "high": 2, **ONE}, "X001: low must be at most high, 2 (got 3)"),
        ({"rule": "greater", **ONE}, "X001: rule greater needs minus"),
        ({"rule": "trend", "direction": "up", **ALL}, "X001: direction must be rising or falling (got 'up')"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "of": "cifar-depth/*/bn"}, "X001: threshold must be given with small_gammas"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "threshold": 0.02, "of": "cifar-depth/*/bn"}, "X001: threshold must be one of 0.01, 0.05, 0.1 (got 0.02)"),
        ({"rule": "equals", "to": 1, "reduce": "median", **ONE}, "X001: unknown reduce 'median'; "),
        ({"rule": "structure", "fact": "depth", "to": 1, "of": "cifar-depth/*"}, "X001: unknown fact 'depth'; "),
        ({"rule": "setting", "key": "recipe.epoch", "to": 1, "of": "cifar-depth/*/*"}, "X001: unknown setting 'recipe.epoch'; did you mean 'recipe.epochs'?"),
        ({"rule": "equals", "to": 1, **ALL, "minus": "cifar-width/*/bn"}, "X001: minus must name one network, or '=' for the same, and one regime (got 'cifar-width/*/bn')"),
        ({"rule": "equals", "to": 1, "metric": "total", "reduce": "slope", "of": "cifar-depth/*"}, "X001: reduce must be one of "),
        ({"rule": "count", "to": 1, **ALL}, "X001: metric must be failed with rule count, which counts runs (got 'top1')"),
        ({"rule": "equals", "to": 1, "metric": "gamma_within", "bounds": 3, "of": "cifar-depth/*/bn"}, "X001: bounds must be two numbers (got 3)"),
        ({"rule": "equals", "to": 1, "metric": "total", "of": "cifar-depth/*", "over": {"metric": "total", "of": "cifar-depth/*"}}, "must be a count of one named network"),
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
        ({"figures": ["fig26"]}, "X001: unknown figure or table 'fig26'; did you mean 'fig2"),
        ({"page": "one"}, "X001: page must be a whole number (got 'one')"),
        ({"colour": 1}, "X001: unknown key 'colour'; "),
        ({"external": "both"}, "X001: give either tests, or external"),
        ({"kind": "axes"}, "X001: unknown kind 'axes'; did you mean 'axis'?"),
        ({"same_as": "X000"}, "X001: same_as must be a claim above, instead of tests (got 'X000')"),
    ],
)
def test_mistakes_in_a_claim(tmp_path, grid, keys, message):
    with pytest.raises(UserError, match=re.escape(message)):
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
        ("claim: {}", "unknown key claim; did you mean 'claims'"),
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
    with pytest.raises(UserError, match="was trained on other cifar10 data than") as mistake:
        judge.judge(grid, root=tmp_path)
    copies = [paths.finished(grid.cell(name, "bn", 0).digest()) for name in ("ResNet-14", "ResNet-32")]
    assert all(str(copy) in str(mistake.value) for copy in copies)


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
