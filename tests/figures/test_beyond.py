"""The figures beyond the paper: drawn for themselves only, and each with a sentence made from its numbers."""

from __future__ import annotations

import pandas as pd
import pytest
from tests.figures import synthetic

from bnonly import paths
from bnonly.figures import outputs, render
from bnonly.figures.beyond import layers
from bnonly.figures.catalog import BEYOND
from bnonly.grid.resolve import resolve


def test_none_of_them_is_made_unless_it_is_asked_for():
    grid = resolve(synthetic.small_config())
    assert BEYOND.names() and not set(BEYOND.names()) & set(outputs.wanted(grid))
    assert set(BEYOND.names()) < set(outputs.names())
    assert all(name.startswith("beyond/") for name in BEYOND.names())


@pytest.mark.parametrize("name", BEYOND.names())
def test_a_figure_beyond_the_paper_says_what_it_shows_and_that_it_is_not_the_papers(tmp_path, name):
    grid = resolve(synthetic.small_config())
    synthetic.write(tmp_path, grid, [name], most=120)
    made = render.render(outputs.ask(grid, name), root=tmp_path)
    assert made == [tmp_path / paths.figure(name, suffix) for suffix in paths.FIGURE_FORMATS]
    (finding,) = pd.read_csv(made[-1])["finding"].unique()
    assert any(letter.isdigit() for letter in finding) and "nan" not in finding
    with render.look():
        sheet = render.compose(outputs.ask(grid, name), tmp_path)
    assert sheet.warnings[0].startswith("Beyond the paper")


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("bn1", "stem"),
        ("relu", "stem"),
        ("blocks.0.bn1", "first in a block"),
        ("blocks.2.relu1", "first in a block"),
        ("layer1.0.relu", "first in a block"),
        ("blocks.0.bn2", "later in a block"),
        ("blocks.2.relu2", "later in a block"),
        ("layer1.0.relu#1", "later in a block"),
        ("blocks.1.downsample.1", "shortcut"),
    ],
)
def test_the_place_of_a_layer_is_in_its_name(layer, place):
    assert layers.place(layer) == place
