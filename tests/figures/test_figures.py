"""Every figure, drawn from invented results: what it needs, its code and its files."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.figures import synthetic
from tests.figures.drawing import (
    DEPTH,
    FIGURES,
    IMAGENET,
    KINDS,
    PAPER,
    SMALL,
    VGG,
    WIDTH,
    asked,
    texts,
    written,
)

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import catalog, render, staleness
from bnonly.figures.needs import Need
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid, resolve


def test_the_catalog_has_the_papers_figures():
    assert catalog.FIGURES.names() == FIGURES


def test_an_unknown_figure_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'fig05'"):
        catalog.FIGURES.needs("figure05")


@pytest.mark.parametrize("number", PAPER)
def test_a_figure_needs_what_the_papers_shows(number):
    needs = catalog.FIGURES.needs(f"fig{number:02d}")
    experiments, regimes = PAPER[number]
    assert tuple(n.experiment for n in needs) == experiments
    assert {n.regimes for n in needs} == {tuple(regimes.split())}
    assert {n.case_study for n in needs} == {number == 4}
    assert all("metrics" in n.files for n in needs), "without it a figure cannot tell that a run diverged"


def test_figure_10_needs_small_networks_too():
    assert catalog.FIGURES.needs("fig10") == (Need(DEPTH, ("bn",)), Need(WIDTH, ("bn",)), Need(SMALL, ("all",)))


@pytest.mark.parametrize(
    ("kind", "figures"),
    [("clamping", [6]), ("activations", [7, 23, 24, 25]), ("batchnorm", [4, 5, *range(15, 23)])],
)
def test_only_some_figures_read_more_than_metrics(kind, figures):
    readers = [name for name in FIGURES if any(kind in need.files for need in catalog.FIGURES.needs(name))]
    assert readers == [f"fig{i:02d}" for i in figures]


def test_modules_the_workflow_imports_are_light():
    code = (
        "import sys\n"
        "from bnonly.figures.catalog import FIGURES, TABLES\n"
        "[c.code_digest(n) and c.needs(n) for c in (FIGURES, TABLES) for n in c.names()]\n"
        "print([m for m in ('matplotlib', 'pandas', 'numpy', 'torch', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_imports_no_torch_and_no_pyplot():
    code = (
        "import sys, bnonly.figures.render, bnonly.figures.tables.render\n"
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_named_by_its_number_and_imports_no_other(name):
    module = catalog.FIGURES.module(name)
    assert catalog.FIGURES.title(name).startswith(f"Figure {int(name[3:])}: ")
    source = Path(module.__file__).read_text()
    assert "figures.fig" not in source, "a figure imports another"


def test_a_figures_code_is_its_own_file_and_the_shared_ones(tmp_path):
    shutil.copytree(catalog.HERE, tmp_path, dirs_exist_ok=True)
    inside = [p for p in catalog.FIGURES.shared if p.is_relative_to(catalog.HERE)]
    shared = tuple(tmp_path / p.relative_to(catalog.HERE) for p in inside)
    figures = dataclasses.replace(catalog.FIGURES, folder=tmp_path, shared=shared)
    before = {n: figures.code_digest(n) for n in FIGURES}
    assert len(set(before.values())) == len(FIGURES)

    def changed(file: str) -> set[str]:
        path = tmp_path / file
        content = path.read_bytes()
        path.write_bytes(content + b"# edited\n")
        found = {n for n in FIGURES if figures.code_digest(n) != before[n]}
        path.write_bytes(content)
        return found

    assert changed("fig05.py") == {"fig05"}
    assert changed("drawing/style.py") == set(FIGURES)
    assert changed("values.py") == set(FIGURES)
    assert changed("needs.py") == set()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_in_every_format(small, name):
    root, grid = small
    pdf, png, table = written(root, grid, name)
    assert [p.relative_to(root) for p in (pdf, png, table)] == [paths.figure(name, s) for s in ("pdf", "png", "csv")]
    assert pdf.read_bytes().startswith(b"%PDF") and b"/CreationDate" not in pdf.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(table)
    assert {"panel", "quantity", "n", "diverged"} <= set(frame.columns) and len(frame)


@pytest.mark.parametrize("name", KINDS)
def test_drawn_again_a_figure_has_the_same_bytes(small, name, monkeypatch):
    root, grid = small
    first = [p.read_bytes() for p in written(root, grid, name)]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    import matplotlib

    with matplotlib.rc_context({"xtick.direction": "in", "axes.facecolor": "yellow"}):  # somebody's matplotlibrc
        second = [p.read_bytes() for p in render.render(asked(grid, name), Path("second"), root)]
    assert first == second


def test_results_of_another_configuration_are_refused(tmp_path, small):
    root, grid = small
    config = synthetic.small_config()
    config["recipes"]["cifar10"]["lr"] = 0.2
    with pytest.raises(UserError, match=r"metrics\.parquet: was made with another configuration"):
        render.render(asked(resolve(config), "fig02"), root=root)
    with pytest.raises(UserError, match="no such file"):
        render.render(asked(grid, "fig02"), root=tmp_path)
    assert not list(tmp_path.rglob("fig02*"))


def without(*left_out: str) -> Grid:
    config = synthetic.small_config()
    for experiment in left_out:
        del config["experiments"][experiment]
    return resolve(config)


@pytest.mark.parametrize("name", [f"fig{i:02d}" for i in (1, 2, 3, 4, 5, 6, 7, 10, 13)])
def test_experiments_that_a_run_leaves_out_are_left_out_and_named(small, name):
    root, _ = small
    with render.look():
        sheet = render.compose(asked(without(WIDTH, IMAGENET), name), root)
    assert len(sheet.axes) == 1
    lacking = [e for e in (WIDTH, IMAGENET) if e in [n.experiment for n in catalog.FIGURES.needs(name)]]
    assert any(f"experiments left out: {' and '.join(lacking)}" in " ".join(t.split()) for t in texts(sheet))
    assert set(sheet.numbers["panel"]) == {n.experiment for n in catalog.FIGURES.needs(name)} - {WIDTH, IMAGENET}


def test_with_one_row_of_four_gone_the_others_keep_their_place(small):
    root, _ = small
    with render.look():
        sheet = render.compose(asked(without(WIDTH), "fig02"), root)
    assert [ax.get_ylabel().split()[0] for ax in sheet.axes] == ["Test", "Top-1", "Top-5"]


def test_a_figure_without_any_of_its_experiments_is_refused():
    with pytest.raises(UserError, match=r"fig09 needs experiments\.vgg"):
        asked(without(VGG), "fig09")


@pytest.mark.parametrize("name", [*FIGURES, *catalog.TABLES.names()])
def test_a_caption_names_no_data_but_the_papers(name):
    """The same caption stands over the digits; what is of CIFAR-10 is a statement of the paper's."""
    found = catalog.FIGURES if name in FIGURES else catalog.TABLES
    for sentence in re.split(r"\.\s", " ".join(found.module(name).__doc__.split())):
        if any(info.title in sentence.replace("ImageNet-type", "") for info in DATASETS.values()):
            assert "In the paper" in sentence, sentence


def test_a_backend_of_the_environment_does_not_matter(small, tmp_path):
    root, grid = small
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": "/dev/null"}
    path = tmp_path / "configuration.yaml"
    path.write_text(yaml.safe_dump(synthetic.small_config(), allow_unicode=True))
    command = [sys.executable, "-m", "bnonly", "--config", str(path), "-C", str(root), "figure", "fig09"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_grid_of_thousands_of_replicates_is_asked_for_in_moments_and_passed_in_a_file():
    config = synthetic.small_config()
    config["experiments"] = {DEPTH: config["experiments"][DEPTH] | {"seeds": list(range(3000))}}
    grid = resolve(config)
    found = asked(grid, "fig02")
    assert len(found.cells()) == 3 * 5 * 3000 and len(found.to_json()) > 131_072
    assert len(staleness.made_from(found)) == 64, "what the workflow keeps as a parameter"
    rules = (synthetic.ROOT / "workflow/rules/figures.smk").read_text()
    assert "to_json" not in rules and "bnonly_run figure {wildcards.name} >" in rules
