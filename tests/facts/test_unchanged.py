"""Results do not change: five cells of the demo, trained before the package was divided into rooms and trained again now."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from bnonly.grid.resolve import load_grid
from bnonly.results import parquet
from bnonly.train.options import Options
from bnonly.train.run import train_cell

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "demo_before.json").read_text())
#: On another kind of CPU or another torch: a difference in the first epochs that rounding explains.
EPOCHS, LOSS = 2, 0.05


@pytest.fixture(scope="module")
def grid(root):
    return load_grid(root / "config.yaml", yaml.safe_load((root / "demo/grid.yaml").read_text()))


def cell_of(grid, fact):
    return grid.cell(fact["architecture"], fact["regime"], 0)


def values(column):
    return [float.fromhex(v) if isinstance(v, str) else v for v in column]


@pytest.mark.parametrize("fact", FACTS["cells"], ids=lambda f: f"{f['architecture']}-{f['regime']}")
def test_a_cell_trains_to_the_same_numbers(fact, grid, tmp_path):
    cell = cell_of(grid, fact)
    assert cell.digest() == fact["digest"]
    train_cell(cell, tmp_path, Options(tmp_path, "cpu", FACTS["threads"], quiet=True))
    table, label = parquet.read(tmp_path / "metrics.parquet", "metrics", cell=cell)
    norms, _ = parquet.read(tmp_path / "batchnorm.parquet", "batchnorm", cell=cell)
    body = "".join(json.dumps(norms.column(name).to_pylist()) for name in norms.column_names)
    here = (label["device_name"], torch.backends.cpu.get_cpu_capability(), label["versions"]["torch"])
    if here == (FACTS["device_name"], FACTS["capability"], FACTS["torch"]):
        for name, column in fact["metrics"].items():
            found = table.column(name).to_pylist()
            # As text, since not a number (epoch 0 has no training loss) equals nothing.
            assert list(map(repr, found)) == list(map(repr, values(column))), name
        assert hashlib.sha256(body.encode()).hexdigest() == fact["batchnorm_sha256"]
    else:
        for name in ("epoch", "iteration", "lr"):
            assert table.column(name).to_pylist() == values(fact["metrics"][name])
        losses = table.column("test_loss").to_pylist()[:EPOCHS]
        assert losses == pytest.approx(values(fact["metrics"]["test_loss"])[:EPOCHS], rel=LOSS)


def test_results_from_before_are_taken_as_finished(grid, tmp_path, capsys):
    cell = cell_of(grid, {"architecture": "ResNet-8", "regime": "bn"})
    for path in (HERE / "finished_before").iterdir():
        shutil.copy(path, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    train_cell(cell, tmp_path, Options(tmp_path, "cpu"))
    assert "finished earlier with this configuration; nothing to do" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob(".checkpoint*"))
