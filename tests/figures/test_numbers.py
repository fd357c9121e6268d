"""The numbers that figures show, from invented results with known answers."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.figures import synthetic
from tests.figures.drawing import DEPTH, IMAGENET, WIDTH, composed, numbers, texts, tiny

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import render
from bnonly.figures.catalog import FIGURES
from bnonly.figures.drawing import scatter
from bnonly.figures.drawing.densities import bin_edges
from bnonly.figures.needs import Need, request
from bnonly.figures.values import Results, summary


def test_accuracies_in_the_csv_are_means_and_sample_deviations(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8", "ResNet-14"], [0, 1, 2])
    accuracies = {("ResNet-8", 0): 0.5, ("ResNet-8", 1): 0.6, ("ResNet-8", 2): 0.7}
    for key, cell in grid.cells.items():
        last = accuracies.get((key[0], key[2]), 0.25)
        known = {"test_top1": [0.9, last], "test_top5": [0.9, last + 0.2]}
        synthetic.write_one(
            tmp_path, cell, "metrics", stopped_at=last if key == ("ResNet-8", "bn", 1) else None, **known
        )
    data = Results(request(grid, "fig02", (Need(DEPTH, ("all", "bn")),)), tmp_path)
    points = summary(data.accuracy(data.panel(DEPTH))).set_index(["architecture", "regime"])
    first = points.loc["ResNet-8", "bn"]
    assert first["mean"] == pytest.approx(60) and first["sd"] == pytest.approx(10)
    assert (first["n"], first["runs"], first["diverged"]) == (3, 3, 1)
    other = points.loc["ResNet-14", "all"]
    assert other["mean"] == pytest.approx(25) and other["sd"] == pytest.approx(0, abs=1e-9) and other["diverged"] == 0
    top5 = summary(data.accuracy(data.panel(DEPTH), top=5)).set_index(["architecture", "regime"])
    assert top5.loc["ResNet-8", "all"]["mean"] == pytest.approx(80)


def test_the_csv_has_every_plotted_point(small):
    root, grid = small
    frame = numbers(root, grid, "fig02")
    # 3 + 2 networks on CIFAR's panels, 2 on ImageNet's, which is there twice; five regimes.
    assert len(frame) == 5 * (3 + 2 + 2 * 2)
    sheet = composed(root, grid, "fig02")
    drawn = sorted(
        y for ax in sheet.axes for line in ax.lines if line.get_marker() in "os^Dv" for y in line.get_ydata()
    )
    assert drawn == pytest.approx(sorted(frame["mean"]))
    assert set(frame["quantity"]) == {"test_top1", "test_top5"}
    assert frame.groupby("panel")["x"].max().to_dict() == {DEPTH: 2, WIDTH: 1, IMAGENET: 1}


def test_the_regression_is_the_known_one(tmp_path):
    grid = tiny(["bn"], ["ResNet-8", "ResNet-14", "ResNet-20"], [0])
    counts, accuracies = [1000, 2000, 8000], [0.40, 0.46, 0.55]
    for cell, count, accuracy in zip(grid.cells.values(), counts, accuracies, strict=True):
        synthetic.write_one(tmp_path, cell, "metrics", counts={"trainable": count}, test_top1=[0.1, accuracy])
    with render.look():
        sheet = render.Sheet()
        data = Results(request(grid, "fig03", (Need(DEPTH, ("bn",)),)), tmp_path)
        scatter.regressions(sheet, data, (scatter.DEPTH,), "Parameters", (45, 85))
    frame = sheet.numbers
    assert frame["x"].dropna().tolist() == counts
    row = frame[frame["quantity"] == "regression"].iloc[0]
    x, y = np.log2(counts), 100 * np.array(accuracies)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    r = np.corrcoef(x, y)[0, 1]
    t = r * math.sqrt(1 / (1 - r**2))
    assert row["slope"] == pytest.approx(slope) and row["intercept"] == pytest.approx(y.mean() - slope * x.mean())
    assert row["r"] == pytest.approx(r) and row["r2"] == pytest.approx(r**2) and row["n"] == 3
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 1))


def test_a_regression_that_cannot_be_is_said_so(small):
    assert scatter.regress(pd.Series([1000, 2000]), pd.Series([50.0, 60.0])) is None
    assert scatter.regress(pd.Series([1000, 1000, 1000]), pd.Series([50.0, 60.0, 70.0])) is None
    level = scatter.regress(pd.Series([1000, 2000, 4000]), pd.Series([50.0, 50.0, 50.0]))
    assert (level.slope, level.r, level.p) == (0, 0, 1)
    assert any("too few points" in t for t in texts(composed(*small, "fig03")))


def test_fractions_of_small_gammas_are_strict_and_per_run(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8"], [0, 1])
    for cell in grid.cells.values():
        synthetic.write_one(tmp_path, cell, "metrics")
        gammas = [0.0, -0.005, 0.03, -0.07, 1.0] if cell.seed == 0 else [0.0, float("nan"), 0.5, 0.5, 0.5]
        synthetic.write_one(tmp_path, cell, "batchnorm", most=5, gamma_end=gammas)
    data = Results(request(grid, "fig05", (Need(DEPTH, ("all", "bn"), ("metrics", "batchnorm")),)), tmp_path)
    panel = data.panel(DEPTH)
    by_threshold = {t: data.small_gammas(panel, t)["value"].tolist()[:2] for t in (0.01, 0.05, 0.1)}
    assert by_threshold[0.01] == pytest.approx([40, 25])  # the one that is not finite is no gamma at all
    assert by_threshold[0.05] == pytest.approx([60, 25])
    assert by_threshold[0.1] == pytest.approx([80, 25])


def test_clamping_is_the_change_against_the_untouched_network(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0])
    (cell,) = grid.cells.values()
    synthetic.write_one(tmp_path, cell, "metrics")
    known = {"threshold": [0.1, 0.0, 0.01, 0.05], "test_top1": [0.50, 0.80, 0.795, 0.79]}
    synthetic.write_one(tmp_path, cell, "clamping", **known)
    need = (Need(DEPTH, ("all",), ("metrics", "clamping")),)
    data = Results(request(grid, "fig06", need), tmp_path)
    changes = [data.clamping_change(data.panel(DEPTH), t)["value"].item() for t in (0.01, 0.05, 0.1)]
    assert changes == pytest.approx([-0.5, -1, -30])
    with pytest.raises(UserError, match=r"clamping\.parquet.*no threshold 0\.2"):
        data.clamping_change(data.panel(DEPTH), 0.2)


def test_a_disabled_activation_is_zero_more_than_99_percent_of_the_time(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0])
    (cell,) = grid.cells.values()
    synthetic.write_one(tmp_path, cell, "metrics")
    synthetic.write_one(tmp_path, cell, "activations", most=4, zero=[0.99, 0.9901, 1.0, 0.0])
    data = Results(request(grid, "fig07", (Need(DEPTH, ("all",), ("metrics", "activations")),)), tmp_path)
    assert data.disabled_activations(data.panel(DEPTH))["value"].item() == pytest.approx(50)


def test_runs_on_different_data_of_one_name_are_not_shown_together(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0, 1])
    for cell, data_sha256 in zip(grid.cells.values(), ("1" * 64, "2" * 64), strict=True):
        synthetic.write_one(tmp_path, cell, "metrics", data_sha256=data_sha256)
    data = Results(request(grid, "fig02", (Need(DEPTH, ("all",)),)), tmp_path)
    with pytest.raises(UserError, match="seed1/metrics.parquet: was trained on other .* data than .*seed0") as mistake:
        data.accuracy(data.panel(DEPTH))
    assert all(str(paths.finished(cell.digest())) in str(mistake.value) for cell in grid.cells.values())


@pytest.mark.parametrize("name", ["fig04", "fig15", "fig16", "fig21", "fig23"])
def test_densities_integrate_to_the_values_they_show(small, name):
    root, grid = small
    frame = numbers(root, grid, name)
    for _, bins in frame.groupby(["panel", "architecture", "regime"]):
        total = bins["values"].iloc[0]
        shown = (bins["density"] * (bins["right"] - bins["left"])).sum()
        assert shown == pytest.approx((total - bins["outside"].iloc[0]) / total)
        assert bins["count"].sum() == total - bins["outside"].iloc[0]


def test_densities_pool_replicates_and_leave_out_what_is_not_finite(small):
    root, grid = small
    frame = (
        numbers(root, grid, "fig15").drop_duplicates(["architecture", "regime"]).set_index(["architecture", "regime"])
    )
    healthy, broken = frame.loc["ResNet-8", "bn"], frame.loc["ResNet-20", "bn"]
    assert (healthy["values"], healthy["not_finite"], healthy["n"], healthy["diverged"]) == (2 * 120, 0, 2, 0)
    assert (broken["values"], broken["not_finite"], broken["n"], broken["diverged"]) == (120, 120, 2, 1)


def test_bins_are_centred_on_zero_and_bounded():
    rng = np.random.default_rng(0)
    spike = np.concatenate([rng.normal(0.3, 0.2, 4000), np.zeros(1000)])
    edges = bin_edges([spike])
    assert np.isclose(np.abs(edges + np.diff(edges)[0] / 2), 0).any(), "zero is the middle of a bin"
    assert edges[0] <= spike.min() and spike.max() <= edges[-1]
    far = bin_edges([np.concatenate([spike, [50.0]])])
    assert far[-1] < 2, "one far value must not squeeze the rest"
    for constant in (0.0, 1.0):
        edges = bin_edges([np.full(10, constant)])
        assert edges[0] < constant < edges[-1]
    assert len(bin_edges([np.array([])])) == 2


def test_constant_gammas_and_runs_without_any_finite_value_are_drawn(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8"], [0])
    for cell in grid.cells.values():
        stopped = 0.1 if cell.regime.name == "bn" else None
        synthetic.write_one(tmp_path, cell, "metrics", stopped_at=stopped)
        gammas = [1.0] * 8 if stopped is None else [float("nan")] * 8
        synthetic.write_one(tmp_path, cell, "batchnorm", most=8, gamma_end=gammas)
    need = (Need(DEPTH, ("all", "bn"), ("metrics", "batchnorm")),)
    for name in ("fig15", "fig05"):
        with render.look():
            data, sheet = Results(request(grid, name, need), tmp_path), render.Sheet()
            FIGURES.module(name).draw(sheet, data)
            sheet.finish()
            sheet.figure.savefig(io.BytesIO(), format="pdf")
        assert sheet.lacking or any("not finite" in t for t in texts(sheet))
