"""A run's folder with two small trained cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mini import mini

from bnonly.grid.resolve import resolve
from bnonly.train.options import Options
from bnonly.train.run import train_cell


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    grid = resolve(mini())
    for regime in ("all", "bn"):
        cell = grid.cell("ResNet-8-c4", regime, 0)
        train_cell(cell, folder / cell.key.folder, Options(folder, "cpu", quiet=True))
    return folder
