"""Results that the figures of the tests are drawn from; no warning passes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from tests.figures import synthetic

from bnonly.grid.resolve import Grid, resolve


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> tuple[Path, Grid]:
    """Three networks, two seeds, digits; one run diverged with gammas that are not finite."""
    root = tmp_path_factory.mktemp("small")
    grid = resolve(synthetic.small_config())
    synthetic.write(root, grid, most=120, diverged={("ResNet-20", "bn", 1): 0.25, ("ResNet-14", "all", 0): 0.5})
    return root, grid


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> tuple[Path, Grid]:
    """The paper's networks, one seed."""
    root = tmp_path_factory.mktemp("wide")
    config = synthetic.paper_config()
    for experiment in config["experiments"].values():
        experiment["seeds"] = [0]
    grid = resolve(config)
    synthetic.write(root, grid, most=120)
    return root, grid
