"""A regime of one's own beside the paper's: trained, and shown in Figure 2."""

import csv

import pytest
from tests.figures import synthetic

from bnonly.errors import UserError
from bnonly.figures import outputs, render
from bnonly.grid.resolve import resolve

MINE = {"label": "Mine", "train": ["gamma"]}


def config(experiment, also):
    found = synthetic.small_config()
    found["regimes"]["mine"] = MINE
    found["experiments"][experiment]["also"] = also
    return found


@pytest.mark.parametrize("experiment", ["cifar-depth", "cifar-width"])
def test_a_regime_of_ones_own_is_trained_and_shown_in_figure_2(experiment, tmp_path):
    grid, plain = resolve(config(experiment, ["mine"])), resolve(synthetic.small_config())
    mine = [k for k in grid.cells if k.regime == "mine"]
    assert mine and set(grid.cells) - set(plain.cells) == set(mine)
    assert {k: c.digest() for k, c in plain.cells.items()} == {k: grid.cells[k].digest() for k in plain.cells}
    asked = outputs.ask(grid, "fig02")
    assert asked.labels["mine"] == "Mine" and set(mine) <= set(asked.cells())
    assert not set(mine) & set(outputs.ask(grid, "fig11").cells())
    synthetic.write(tmp_path, grid, ["fig02"])
    render.render(asked, root=tmp_path)
    rows = list(csv.DictReader((tmp_path / "figures/fig02.csv").read_text().splitlines()))
    assert {r["panel"] for r in rows if r["regime"] == "mine"} == {experiment}


def test_a_regime_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"experiments.cifar-depth.also\[0\] is 'mien'; did you mean 'mine'"):
        resolve(config("cifar-depth", ["mien"]))
