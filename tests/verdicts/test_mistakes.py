"""Mistakes in a claims file and results that must not be judged are refused in one line."""

from __future__ import annotations

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
        ({"rule": "equal", "to": 1, **ONE}, "X001: rule is 'equal'; there is no such rule; did you mean 'equals'?"),
        ({"rule": "equals", **ONE}, "X001: rule equals needs to"),
        ({"rule": "equals", "to": "x", **ONE}, "X001: to is 'x'; must be a number"),
        ({"rule": "equals", "to": 1, "metric": "top2", "of": "cifar-depth/*/bn"}, "X001: metric is 'top2'; there is no such metric"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-dept/*/bn"}, "X001: of is 'cifar-dept'; there is no such experiment"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/ResNet-15/bn"}, "the experiment has no such network; did you mean 'ResNet-56'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bm"}, "X001: of is 'bm'; there is no such regime; did you mean 'bn'?"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*/bn", "minus": "rand3"}, "X001: of is 'rand3'; there is no such regime"),
        ({"rule": "equals", "to": 1, "metric": "top1", "of": "cifar-depth/*"}, "must be EXPERIMENT/ARCHITECTURES/REGIME"),
        ({"rule": "equals", "to": 1, "tolerence": 2, **ONE}, "X001: tolerence is no key of a test; did you mean 'tolerance'?"),
        ({"rule": "range", "low": 3, "high": 2, **ONE}, "X001: low is 3; must be at most high, 2"),
        ({"rule": "greater", **ONE}, "X001: rule greater needs minus"),
        ({"rule": "trend", "direction": "up", **ALL}, "X001: direction is 'up'; must be rising or falling"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "of": "cifar-depth/*/bn"}, "X001: threshold is None"),
        ({"rule": "equals", "to": 1, "metric": "small_gammas", "threshold": 0.02, "of": "cifar-depth/*/bn"}, "X001: threshold is 0.02; must be one of 0.01, 0.05, 0.1"),
        ({"rule": "equals", "to": 1, "reduce": "median", **ONE}, "X001: reduce is 'median'"),
        ({"rule": "structure", "fact": "depth", "to": 1, "of": "cifar-depth/*"}, "X001: fact is 'depth'"),
        ({"rule": "setting", "key": "recipe.epoch", "to": 1, "of": "cifar-depth/*/*"}, "X001: key is 'recipe.epoch'; there is no such setting; did you mean 'recipe.epochs'?"),
        ({"rule": "equals", "to": 1, **ALL, "minus": "cifar-width/*/bn"}, "X001: minus is 'cifar-width/*/bn'; must name one network, or '=' for the same"),
        ({"rule": "equals", "to": 1, "metric": "total", "reduce": "slope", "of": "cifar-depth/*"}, "X001: reduce is 'slope'; not with total"),
        ({"rule": "count", "to": 1, **ALL}, "X001: metric is 'top1'; rule count counts runs"),
        ({"rule": "equals", "to": 1, "metric": "gamma_within", "bounds": 3, "of": "cifar-depth/*/bn"}, "X001: bounds is 3; must be two numbers"),
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
        ({"figures": ["fig26"]}, "X001: figures is 'fig26'; no figure or table is called so; did you mean 'fig2"),
        ({"page": "one"}, "X001: page is 'one'; must be a whole number"),
        ({"colour": 1}, "X001: colour is no key of a claim"),
        ({"external": "both"}, "X001: give either tests, or external"),
        ({"kind": "axes"}, "X001: kind is 'axes'; did you mean 'axis'?"),
        ({"same_as": "X000"}, "X001: same_as is 'X000'; must be a claim above"),
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
