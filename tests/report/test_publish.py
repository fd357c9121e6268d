"""The page of published results, and the archive beside it."""

import hashlib
import json
import re
import shutil
import zipfile

import pytest
from tests.figures.synthetic import small_config
from tests.report.runs import DRAWN

from bnonly.commands import publish
from bnonly.commands.cli import run


@pytest.fixture
def call(made, tmp_path, monkeypatch):
    """A copy of the small run in its own folder, and a call of bnonly publish in it."""
    shutil.copytree(made.parent, tmp_path / "run")
    (tmp_path / "resolved.json").write_text(json.dumps(small_config() | {"title": "demo <run> & more"}))
    monkeypatch.chdir(tmp_path / "run")
    return lambda folder="out": run(["publish", folder, "--resolved", "../resolved.json"])


def test_the_page_shows_the_figures_with_their_deviations_and_names_its_archive(call, tmp_path, capsys):
    assert call() == 0, capsys.readouterr().err
    out = tmp_path / "run/out"
    text = (out / "index.md").read_text()
    assert {p.name for p in out.iterdir()} == {
        "index.md", "results.zip", *(f"{n}.{s}" for n in DRAWN for s in ("png", "csv")),
    }  # fmt: skip
    for name in DRAWN:
        assert f"]({name}.png)" in text and f"]({name}.csv)" in text
        assert (out / f"{name}.csv").read_bytes() == (tmp_path / f"run/figures/{name}.csv").read_bytes()
    assert text.count("4 of 160 epochs") > len(DRAWN)  # in the list of deviations, and beside every figure
    assert re.search(r"^\| ResNet-14 .*\(2\) \|", text, re.M), "mean, deviation and number of seeds"
    assert "ResNet-14/bn/seed1 diverged" in text
    assert hashlib.sha256((out / "results.zip").read_bytes()).hexdigest() in text
    with zipfile.ZipFile(out / "results.zip") as packed:
        assert "published/figures/fig02.csv" in packed.namelist()


def test_publishing_again_replaces_the_page_and_nothing_else(call, tmp_path, capsys):
    assert call() == 0
    first = {p.name: p.read_bytes() for p in (tmp_path / "run/out").iterdir()}
    assert call() == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "run/out").iterdir()} == first
    other = tmp_path / "run/other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    assert call("other") == 2 and "holds other files than published results" in capsys.readouterr().err
    assert [p.name for p in other.iterdir()] == ["mine.txt"]


def test_an_archive_too_large_for_a_repository_is_refused(call, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(publish, "LARGEST", 1000)
    assert call() == 2 and "at most 1 kB may go into a repository" in capsys.readouterr().err
    assert list((tmp_path / "run/out").iterdir()) == []


def test_a_run_without_figures_has_no_page(call, tmp_path, capsys):
    shutil.rmtree(tmp_path / "run/figures")
    assert call() == 2 and "draw them first: snakemake figures/all" in capsys.readouterr().err
