"""Somebody else's archive, imported: the workflow draws from it, on a machine without the data, and trains nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.figures.synthetic import write_one

from bnonly.commands import cli
from bnonly.config.layers import as_yaml, merge, read_yaml
from bnonly.grid.resolve import load_grid

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

#: Real CIFAR-10, which nobody has prepared here.
THEIRS = {
    "title": "theirs",
    "outputs": ["fig05", "fig06", "fig07"],
    "experiments": {
        "cifar-depth": {"architectures": ["ResNet-14", "ResNet-32"], "case_study": "ResNet-14", "regimes": ["all", "bn"], "seeds": [0, 1]},
        "cifar-width": None, "imagenet": None, "vgg": None, "small": None, "text-depth": None, "text-width": None, "ends": None, "ends-imagenet": None,
    },
}  # fmt: skip


def snakemake(run, *arguments, data):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        run / "profile",
        "--workflow-profile",
        ROOT / "workflow/profiles/default",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "BNONLY_DATA": str(data)}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=ROOT, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_figures_are_drawn_from_an_import_without_data_or_training(tmp_path, monkeypatch):
    theirs, ours, data = tmp_path / "theirs", tmp_path / "ours", tmp_path / "no-data"
    theirs.mkdir()
    config = tmp_path / "config.yaml"
    config.write_text(as_yaml(merge(read_yaml(ROOT / "config.yaml"), THEIRS)))
    for cell in load_grid(config).cells.values():
        for kind in ("metrics", "batchnorm", "clamping", "activations"):
            write_one(theirs, cell, kind)
    monkeypatch.chdir(ROOT)
    for name in ("fig05", "fig06", "fig07"):
        assert cli.main(["--config", str(config), "-C", str(theirs), "figure", name]) == 0
    assert cli.main(["--config", str(config), "-C", str(theirs), "export", str(tmp_path / "theirs.zip")]) == 0
    monkeypatch.chdir(ROOT)
    assert cli.main(["-C", str(ours), "import", str(tmp_path / "theirs.zip"), "--own-configuration"]) == 0

    plan = snakemake(ours, "--dry-run", "--", "figures/all", data=data)
    assert re.search(r"^figure +3$", plan, re.MULTILINE)
    for rule in ("train", "analyse", "prepare", "counts"):
        assert not re.search(rf"^{rule} +\d", plan, re.MULTILINE)
    snakemake(ours, "--cores", "2", "--", "figures/all", data=data)
    drawn = sorted((ours / "figures").glob("fig*"))
    assert len(drawn) == 9
    for file in drawn:
        assert file.read_bytes() == (ours / "published/theirs/figures" / file.name).read_bytes(), file.name
    assert "Nothing to be done" in snakemake(ours, "--dry-run", "--", "figures/all", data=data)
    assert not data.exists()
