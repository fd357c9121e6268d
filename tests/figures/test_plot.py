"""A plot of one architecture: learning curves and the distribution of gamma of the cells that are finished."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from tests.figures.drawing import texts

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import plot, render
from bnonly.grid.cell import Key
from bnonly.results import parquet


@pytest.fixture
def here(small, monkeypatch):
    monkeypatch.chdir(small[0])
    return small


def page(grid, name, *regimes, root="."):
    with render.look():
        return render.page(plot.draw, plot.ask(grid, name, regimes, "bnonly"), root, beyond=True)


def test_curves_and_histograms_are_those_of_the_results(here):
    _, grid = here
    sheet = page(grid, "ResNet-8", "bn", "all", "bn")
    numbers: pd.DataFrame = sheet.numbers
    assert list(numbers["regime"].unique()) == ["bn", "all"] and set(numbers["quantity"]) == {
        "test_top1", "train_loss", "gamma_end",
    }  # fmt: skip
    files = [paths.metrics(Key("ResNet-8", "bn", seed).folder) for seed in (0, 1)]
    ends = [100 * parquet.read(f, "metrics")[0]["test_top1"][-1].as_py() for f in files]
    accuracy = numbers.query("quantity == 'test_top1' and regime == 'bn'")
    assert accuracy["mean"].iloc[-1] == pytest.approx(sum(ends) / 2)
    gammas = [parquet.read(paths.batchnorm(f.parent), "batchnorm")[0].num_rows for f in files]
    assert numbers.query("quantity == 'gamma_end' and regime == 'bn'")["values"].unique() == [sum(gammas)]
    assert "Beyond the paper, which has no such figure." in texts(sheet)


def test_only_finished_replicates_are_shown_and_said(here, tmp_path, monkeypatch):
    root, grid = here
    shutil.copytree(root, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree(Key("ResNet-8", "bn", 1).folder)
    sheet = page(grid, "ResNet-8", "all", "bn")
    said = f"Finished runs: {grid.regime_labels['all']} 2 and {grid.regime_labels['bn']} 1."
    assert said in sheet.notes
    shutil.rmtree(Key("ResNet-8", "bn", 0).folder)
    with pytest.raises(UserError, match="results/ResNet-8/bn: no seed is trained with this configuration; train one"):
        page(grid, "ResNet-8", "all", "bn")


def test_an_alias_and_a_run_that_diverged_are_drawn(here):
    _, grid = here
    assert texts(page(grid, "WRN-8-1", "bn"))
    assert any("runs diverged (1 of 4 in all)" in note for note in page(grid, "ResNet-20", "all", "bn").notes)


@pytest.mark.parametrize(
    ("name", "regime", "said"),
    [("ResNet8", "bn", "did you mean 'ResNet-8'"), ("ResNet-8", "bnn", "did you mean 'bn'")],
)
def test_wrong_names_are_answered(here, name, regime, said):
    with pytest.raises(UserError, match=said):
        plot.ask(here[1], name, ["all", regime], "bnonly")
