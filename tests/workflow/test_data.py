"""Data sets in the workflow: prepared where they are missing, and never touched where they are not."""

import os
import shutil

import pytest
import yaml
from tests.data import sets
from tests.data.test_own import folder
from tests.workflow.test_workflow import ROOT, planned, snakemake

pytestmark = pytest.mark.workflow

TARGET = "results/ResNet-14/bn/seed0/metrics.parquet"
SHORT = ("--config", "recipes={cifar10: {epochs: 1, milestones: [], batch_size: 25}}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The project, for a CIFAR-10 of 60 images."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("src", "workflow", "envs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, tree / name)
    file = tree / "src/bnonly/grid/datasets.py"
    file.write_text(file.read_text().replace("50_000, 10_000", f"{5 * sets.PER_BATCH}, {sets.PER_BATCH}"))
    return tree


def test_prepared_data_are_neither_deleted_nor_prepared_again(tree, tmp_path, monkeypatch):
    data = tmp_path / "data"
    sets.parquet(tmp_path / "originals" / "cifar10", "PNG")
    monkeypatch.setenv("BNONLY_DATA", str(data))
    monkeypatch.setenv("BNONLY_SOURCES", os.path.relpath(tmp_path / "originals", tree))
    assert planned(tmp_path / "run", *SHORT, "--", TARGET, tree=tree) == {"prepare": 1, "train": 1}
    done = snakemake(tmp_path / "run", *SHORT, "--", TARGET, tree=tree)
    assert done.returncode == 0 and (tmp_path / "run" / TARGET).exists(), done.stdout[-3000:] + done.stderr[-3000:]

    before = {p: p.stat().st_mtime_ns for p in (data / "cifar10").glob("[!.]*")}
    assert data / "cifar10" / "manifest.json" in before
    monkeypatch.setenv("BNONLY_SOURCES", "")
    assert planned(tmp_path / "run", *SHORT, "--", TARGET, tree=tree) == {}
    assert planned(tmp_path / "run", "--forceall", *SHORT, "--", TARGET, tree=tree) == {"train": 1}
    # As if its job had been killed: what it makes is deleted, and it runs.
    done = snakemake(tmp_path / "run", "--forceall", *SHORT, "--", data / "cifar10" / ".prepared", tree=tree)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "already prepared" in (tmp_path / "run/logs/prepare/cifar10.log").read_text()
    assert before == {p: p.stat().st_mtime_ns for p in (data / "cifar10").glob("[!.]*")}


def test_an_empty_variable_is_none(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("BNONLY_DATA", "")
    done = snakemake(tmp_path, "--summary", *SHORT, "--", TARGET, tree=tree)
    assert f"{tree}/data/cifar10/.prepared" in done.stdout + done.stderr


def test_images_of_ones_own_are_prepared_and_trained(tmp_path, monkeypatch):
    """The counts in the configuration, and later those of the manifest, describe the same cell."""
    monkeypatch.setenv("BNONLY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BNONLY_SOURCES", str(tmp_path / "originals"))
    folder(tmp_path / "originals" / "pets")
    file, target = tmp_path / "grid.yaml", "results/ResNet-8/bn/seed0/metrics.parquet"
    pets = {"kind": "small-images", "image_size": 8}
    counts = {"classes": 4, "train_images": 24, "test_images": 8}
    digits = {"dataset": "pets", "epochs": 1, "milestones": [], "batch_size": 8}
    grid = {"recipes": {"digits": digits}, "datasets": {"pets": {**pets, **counts}}}
    file.write_text(yaml.safe_dump(grid))
    options = ("--configfile", file, "--", target)
    assert planned(tmp_path / "run", *options) == {"prepare": 1, "train": 1}
    done = snakemake(tmp_path / "run", *options)
    assert done.returncode == 0 and (tmp_path / "run" / target).exists(), done.stdout[-3000:] + done.stderr[-3000:]
    file.write_text(yaml.safe_dump({**grid, "datasets": {"pets": pets}}))
    assert planned(tmp_path / "run", *options) == {}
    shutil.rmtree(tmp_path / "data" / "pets")
    done = snakemake(tmp_path / "run", "--dry-run", *options)
    said = f"datasets.pets is not prepared in {tmp_path / 'data'}; run: bnonly --configfile {file} prepare pets --from FOLDER"
    assert done.returncode and said in done.stdout + done.stderr


def test_the_quick_profile_plans_60_trainings(tmp_path, monkeypatch):
    monkeypatch.setenv("BNONLY_DATA", str(tmp_path / "data"))
    counts = planned(tmp_path, "--profile", ROOT / "workflow/profiles/quick", "--", "figures/all")
    seeds = 3
    assert counts.pop("train") == 4 * 5 * seeds
    assert counts.pop("analyse") == 4 * 2 * seeds
    assert counts == {"prepare": 1, "figure": 6, "manifest": 1}
