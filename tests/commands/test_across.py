"""Trainings that differ in one value: which are compared, with what, and what is refused."""

import csv
import dataclasses
import io
import json

import pytest
from scipy import stats
from tests.commands.test_compare import NOISE, SEEDS, results

from bnonly.commands import cli
from bnonly.grid.datasets import DATASETS


def rate(lr):
    return lambda cell: dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, lr=lr))


@pytest.fixture
def runs(tmp_path):
    """Three runs with learning rates 0.1, 0.05 and 1; accuracy rises by 2 and 1 points."""
    results(tmp_path / "a", regimes=["bn"])
    results(tmp_path / "b", regimes=["bn"], change=rate(0.05), shift=0.02, noise=NOISE)
    results(tmp_path / "c", regimes=["bn", "all"], change=rate(1.0), shift=0.03, seeds=SEEDS[:2])
    return [str(tmp_path / name) for name in "abc"]


def call(capsys, *arguments, status=0):
    assert cli.main(["compare", *arguments]) == status
    captured = capsys.readouterr()
    return captured.out if not status else captured.err


def test_runs_are_grouped_by_the_value(runs, capsys):
    found = json.loads(call(capsys, *runs, "--across", "recipe.lr", "--json"))
    assert [(r["architecture"], r["regime"], r["value"], r["runs"]) for rows in found["comparisons"] for r in rows] == [
        (a, "bn", lr, n) for a in ("ResNet-14-c4", "ResNet-8-c4") for lr, n in ((0.05, 4), (0.1, 4), (1.0, 2))
    ]
    assert found["alone"] == 4  # all parameters trainable, at one rate only
    first, second, third = found["comparisons"][0]
    assert first["difference"] is None and second["pairs"] == 4 and third["pairs"] == 2
    differences = [-0.02 - n for n in NOISE]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (second["difference"]["low"], second["difference"]["high"]) == pytest.approx(tuple(expected))
    assert second["sd"] == pytest.approx(stats.tstd([0.5 + 0.05 * s for s in SEEDS]))


def test_the_table_and_the_csv(runs, capsys):
    lines = call(capsys, *runs, "--across", "recipe.lr").splitlines()
    assert lines[0].split()[:3] == ["recipe.lr", "runs", "accuracy"]
    assert lines[2].split()[:4] == ["0.1", "4", "57.50", "6.45"] and "-2.00" in lines[2]
    assert "4 other trainings have no counterpart with another recipe.lr." in lines[-1]
    rows = list(csv.DictReader(io.StringIO(call(capsys, *runs, "--across", "recipe.lr", "--format", "csv"))))
    assert [r["value"] for r in rows] == ["0.05", "0.1", "1.0"] * 2
    assert rows[0]["difference_mean"] == "" and float(rows[1]["difference_mean"]) == pytest.approx(-0.02, abs=0.003)


def test_regimes_of_one_run_are_compared_across_what_trains(tmp_path, capsys):
    """Names do not count: what a regime is does."""

    def slower(cell):
        return dataclasses.replace(rate(0.01)(cell), regime=dataclasses.replace(cell.regime, name="bn_slow"))

    results(tmp_path / "a", regimes=["bn"], seeds=[0])
    results(tmp_path / "a", regimes=["bn"], seeds=[0], change=slower, shift=0.1)
    found = json.loads(call(capsys, str(tmp_path / "a"), "--across", "recipe.lr", "--json"))
    (first, second), _ = found["comparisons"]
    assert (first["regime"], first["value"], first["top1"]) == ("bn/bn_slow", 0.01, 0.6)
    assert second["difference"]["mean"] == pytest.approx(-0.1) and second["difference"]["low"] is None
    assert second["sd"] is None


def test_the_same_training_in_two_folders_counts_once(runs, tmp_path, capsys):
    results(tmp_path / "again", regimes=["bn"])
    assert call(capsys, *runs, "--across", "recipe.lr") == call(
        capsys, *runs, str(tmp_path / "again"), "--across", "recipe.lr"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--across", "lr"], "--across lr: trainings have no such value; did you mean 'recipe.lr'?"),
        (["--across", "seed"], "--across seed: trainings have no such value; "),
        (["--across", "recipe.momentum"], "--across recipe.momentum: is 0.9 in every training; name runs that differ"),
        ([], "compare takes two folders (got 3); with --across KEY it takes one or more"),
        (["--across", "recipe.lr", "--cells", "VGG*"], "has no such results"),
    ],
)
def test_mistakes_are_answered(runs, arguments, said, capsys):
    err = call(capsys, *runs, *arguments, status=2)
    assert said in err and err.startswith("bnonly: error: ") and err.count("\n") == 1


def test_what_else_differs_is_named(runs, capsys):
    """Here all parameters were trained at one rate, and BatchNorm alone at another."""
    cells = ["--cells", "*/bn/seed3", "--cells", "*/all/*"]
    err = call(capsys, runs[0], runs[2], *cells, "--across", "regime.train", status=2)
    assert "no two trainings differ in it alone; the nearest also differ in recipe.lr" in err


def test_a_data_set_of_ones_own_is_a_difference(runs, tmp_path, capsys):
    own = dataclasses.replace(DATASETS["digits"], name="mine", layout="small-images")

    def change(cell):
        return dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, lr=3.0, dataset="mine", own_data=own))

    results(tmp_path / "own", regimes=["bn"], change=change)
    err = call(capsys, runs[0], str(tmp_path / "own"), "--across", "recipe.lr", status=2)
    assert "no two trainings differ in it alone; the nearest also differ in recipe.dataset" in err


def test_other_data_are_refused(runs, tmp_path, capsys):
    results(tmp_path / "d", regimes=["bn"], change=rate(3.0), data="1" * 64)
    err = call(capsys, *runs, str(tmp_path / "d"), "--across", "recipe.lr", status=2)
    assert "were trained on different data called digits; compare runs on the same data" in err
