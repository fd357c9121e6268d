"""Two folders of results: what agrees, what differs, what is undecided, and what is refused."""

import csv
import dataclasses
import io
import json
import math
import statistics

import pytest
from scipy import stats
from tests.figures.synthetic import write_one
from tests.mini import mini

from bnonly import paths
from bnonly.commands import cli, compare, comparison
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, Key
from bnonly.grid.resolve import resolve
from bnonly.results import parquet

SEEDS = [0, 1, 2, 3]
CELLS = resolve(mini(**{"experiments__cifar-depth__seeds": SEEDS})).cells
NOISE = [0.010, -0.012, 0.004, -0.002]


def results(
    folder, shift=0.0, noise=(0.0,) * 4, regimes=("all", "bn"), change=lambda cell: cell, data="0" * 64, seeds=SEEDS
):
    """Results of a grid with known accuracies: 0.5 plus a part of the seed plus the shift plus noise."""
    for (a, r, s), cell in CELLS.items():
        if r in regimes and s in seeds:
            top1 = 0.5 + 0.05 * s + (shift.get((a, r), 0.0) if isinstance(shift, dict) else shift) + noise[s]
            write_one(
                folder, change(cell), "metrics", data_sha256=data, test_top1=[0.1, top1], test_loss=[2.3, 1 - top1]
            )
    return folder


def verdict(a, b, **options):
    return comparison.compare(comparison.read_side(a), comparison.read_side(b), **options)


def test_the_same_results_agree(tmp_path):
    found = verdict(results(tmp_path / "a"), results(tmp_path / "b"))
    assert found.verdict() == found.verdict(strict=True) == "agrees"
    assert [(r.architecture, r.regime, r.pairs, r.identical) for r in found.rows] == [
        (a, r, 4, 4) for a in ("ResNet-14-c4", "ResNet-8-c4") for r in ("all", "bn")
    ]
    assert found.overall.pairs == 16 and found.overall.top1 == comparison.Interval(0.0, 0.0, 0.0)


def test_intervals_are_those_of_a_paired_t_test(tmp_path):
    found = verdict(results(tmp_path / "a"), results(tmp_path / "b", shift=0.003, noise=NOISE), confidence=0.9)
    row, differences = found.rows[0], [0.003 + n for n in NOISE]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert (row.top1.low, row.top1.high) == pytest.approx(tuple(expected)) and row.top1.mean == pytest.approx(0.003)
    assert row.loss.mean == pytest.approx(-0.003) and row.loss.low == pytest.approx(-expected.high)
    pooled = stats.ttest_1samp(differences * 4, 0).confidence_interval(0.9)
    assert (found.overall.top1.low, found.overall.top1.high) == pytest.approx(tuple(pooled))


def test_what_differs_is_found_where_it_is(tmp_path):
    """One of four rows is shifted by two points; seeds differ by five, which pairing takes out."""
    a = results(tmp_path / "a", noise=[n / 10 for n in NOISE])
    found = verdict(a, results(tmp_path / "b", shift={("ResNet-8-c4", "bn"): 0.02}))
    assert {(r.architecture, r.regime): r.verdict for r in found.rows} == {
        ("ResNet-14-c4", "all"): "agrees", ("ResNet-14-c4", "bn"): "agrees",
        ("ResNet-8-c4", "all"): "agrees", ("ResNet-8-c4", "bn"): "differs",
    }  # fmt: skip
    assert found.verdict() == "differs"
    assert verdict(a, tmp_path / "b", tolerance=0.03).verdict() == "agrees"


def test_noise_is_neither(tmp_path):
    found = verdict(results(tmp_path / "a"), results(tmp_path / "b", noise=NOISE))
    assert {r.verdict for r in found.rows} == {"undecided"}
    assert found.verdict() == "agrees" and found.verdict(strict=True) == "differs"


def test_many_rows_are_corrected_for(tmp_path):
    """An interval that just leaves the tolerance is a difference alone, and chance among four."""
    noise, tolerance = [0.001, -0.001, 0.001, -0.001], 0.005
    half = stats.t.ppf(0.975, 3) * statistics.stdev(noise) / 2
    shift = tolerance + 1.2 * half
    a, b = results(tmp_path / "a"), results(tmp_path / "b", shift={("ResNet-8-c4", "bn"): shift}, noise=noise)
    four = verdict(a, b, tolerance=tolerance)
    assert [r.verdict for r in four.rows if r.regime == "bn"] == ["agrees", "undecided"]
    one = comparison.compare(
        comparison.read_side(a, ["ResNet-8-c4/bn/*"]), comparison.read_side(b, ["ResNet-8-c4/bn/*"]), tolerance
    )
    assert [r.verdict for r in one.rows] == ["differs"]


def test_one_pair_has_no_interval(tmp_path):
    a = results(tmp_path / "a", seeds=[0], regimes=["bn"])
    near = verdict(a, results(tmp_path / "b", shift=0.004, seeds=[0], regimes=["bn"]))
    assert [r.verdict for r in near.rows] == ["agrees", "agrees"] and near.rows[0].top1.low is None
    far = verdict(a, results(tmp_path / "c", shift={("ResNet-8-c4", "bn"): 0.4}, seeds=[0], regimes=["bn"]))
    assert [r.verdict for r in far.rows] == ["agrees", "undecided"]
    only = comparison.compare(
        comparison.read_side(a, ["ResNet-8*"]), comparison.read_side(tmp_path / "c", ["ResNet-8*"])
    )
    assert only.overall.verdict == "undecided"


def test_cells_of_one_side_are_named_and_not_compared(tmp_path):
    found = verdict(results(tmp_path / "a"), results(tmp_path / "b", regimes=["all"], seeds=[0, 1]))
    assert found.overall.pairs == 4 and len(found.alone_a) == 12 and found.alone_b == []
    assert "Only in A: 12 cells, for example" in compare.as_text(found)


def test_a_diverged_run_counts_with_its_accuracy(tmp_path):
    a, b = results(tmp_path / "a"), results(tmp_path / "b")
    write_one(b, CELLS["ResNet-8-c4", "bn", 0], "metrics", stopped_at=0.1, test_loss=[2.3, math.nan])
    found = verdict(a, b)
    row = found.rows[-1]
    assert (row.diverged_a, row.diverged_b) == (0, 1) and row.top1_b < row.top1_a and math.isfinite(row.loss.mean)
    assert "(diverged: 0 and 1)" in compare.as_text(found) and json.loads(compare.as_json(found))


def fast(cell: Cell) -> Cell:
    return dataclasses.replace(cell, engine="fast", precision="bf16")


def test_engines_are_compared_only_on_demand(tmp_path, capsys):
    results(tmp_path / "a"), results(tmp_path / "b", change=fast)
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    assert cli.main(arguments) == 2
    assert "used engine reference fp32, " in (err := capsys.readouterr().err) and "--across-engines" in err
    assert cli.main([*arguments, "--across-engines"]) == 0
    assert "The engines differ: A is reference fp32, B is fast bf16." in capsys.readouterr().out


def other_rate(cell: Cell) -> Cell:
    return dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, lr=0.3))


def jpeg(cell: Cell) -> Cell:
    return dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, dataset="cifar10-jpeg"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"change": other_rate}, "is not the same training (recipe.lr is 0.1, "),
        ({"change": jpeg}, "was trained on digits and on cifar10-jpeg; compare runs on one data set"),
        ({"data": "1" * 64}, "was trained on different data called digits"),
        ({"change": lambda c: dataclasses.replace(c, protocol=0)}, "is not the same training (protocol is 1, "),
        ({"regimes": ["rand2"]}, "have no cell in common"),
    ],
)
def test_other_trainings_are_refused(tmp_path, capsys, options, message):
    results(tmp_path / "a"), results(tmp_path / "b", **options)
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("bnonly: error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"change": fast}, "mixes engines or precisions (8 cells reference fp32, 4 cells fast bf16)"),
        ({"change": lambda c: dataclasses.replace(c, protocol=0)}, "mixes protocols"),
        ({"data": "1" * 64}, "mixes different data called digits"),
        ({"change": other_rate}, "the replicates of ResNet-14-c4/bn are a mixture (recipe.lr is 0.3, seed 0's is 0.1"),
    ],
)
def test_a_mixture_on_one_side_is_refused(tmp_path, capsys, options, message):
    results(tmp_path / "a", regimes=["all", "bn"], seeds=[0, 1])
    results(tmp_path / "a", **{"regimes": ["bn"], "seeds": [2, 3], **options})
    for order in (("a", "b"), ("b", "a")):
        results(tmp_path / "b")
        assert cli.main(["compare", *(str(tmp_path / n) for n in order)]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: None, "no such folder"),
        (lambda a: a.mkdir(), "has no results"),
        (
            lambda a: paths.metrics(results(a) / Key("ResNet-8-c4", "bn", 0).folder).write_bytes(b"PAR1"),
            "damaged or half-written",
        ),
        (
            lambda a: (results(a) / "results/ResNet-8-c4").rename(a / "results/ResNet-9"),
            "belongs to ResNet-8-c4/all/seed0; move it",
        ),
    ],
)
def test_bad_folders(tmp_path, capsys, make, message):
    make(tmp_path / "a")
    results(tmp_path / "b")
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_results_of_another_version_are_named(tmp_path):
    path = tmp_path / "a" / paths.metrics(Key("ResNet-8-c4", "bn", 0).folder)
    write_one(tmp_path / "a", CELLS["ResNet-8-c4", "bn", 0], "metrics")
    table, label = parquet.read(path, "metrics")
    rest = {k: v for k, v in label.items() if k not in ("kind", "digest", "cell", "sha256")}
    parquet.write(path, "metrics", table.to_pydict(), CELLS["ResNet-8-c4", "bn", 0], {**rest, "cell": {"old": 1}})
    with pytest.raises(UserError, match="metrics.parquet: was made by another version of bnonly"):
        comparison.read_side(tmp_path / "a")


@pytest.mark.parametrize(("shift", "strict", "status"), [(0.0, (), 0), (0.2, (), 1), (0.0, ("--strict",), 0)])
def test_the_exit_status(tmp_path, capsys, shift, strict, status):
    results(tmp_path / "a"), results(tmp_path / "b", shift=shift)
    # The results folder itself will do as well.
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b/results"), *strict]) == status
    assert capsys.readouterr().out.endswith("A and B agree.\n" if not status else "A and B differ.\n")


def test_csv_and_json_have_every_row(tmp_path, capsys):
    results(tmp_path / "a"), results(tmp_path / "b", shift=0.2)
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--cells", "results/*/bn/seed[01]/", "--format"]
    assert cli.main([*arguments, "csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(r["architecture"], r["regime"], r["pairs"], r["verdict"]) for r in rows] == [
        ("ResNet-14-c4", "bn", "2", "differs"), ("ResNet-8-c4", "bn", "2", "differs"), ("all", "all", "4", "differs"),
    ]  # fmt: skip
    assert cli.main([*arguments, "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "differs" and found["overall"]["pairs"] == 4 and found["a"]["cells"] == 4
    assert found["rows"][0]["top1"]["mean"] == pytest.approx(float(rows[0]["top1_difference"])) == pytest.approx(0.2)


@pytest.mark.parametrize("option", [("--tolerance", "-1"), ("--tolerance", "much"), ("--confidence", "1")])
def test_options_are_checked(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["compare", "a", "b", *option])
    assert done.value.code == 2 and "must be at least 0 and below" in capsys.readouterr().err
