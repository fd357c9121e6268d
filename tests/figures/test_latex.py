"""Every table compiles in LaTeX with the packages that it names, and fits the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.figures import synthetic

from bnonly.figures import outputs
from bnonly.figures.catalog import TABLES
from bnonly.figures.tables import layout, render
from bnonly.grid.resolve import Grid, resolve
from bnonly.networks.counts import write_counts
from bnonly.verdicts import judge, table

pytestmark = pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="LaTeX is not installed: texlive-latex-base and texlive-latex-recommended"
)


def compiled(folder: Path, content: str) -> str:
    """Compile a table in a document that has nothing but the packages the table names; return the log."""
    named = re.match(r"% Needs the packages ([\w, ]+)\.\n", content)
    assert named, "the first line names the packages"
    packages = re.split(r", | and ", named[1])
    (folder / "table.tex").write_text(content, encoding="utf-8")
    uses = "".join(f"\\usepackage{{{package}}}\n" for package in packages)
    document = f"\\documentclass{{article}}\n{uses}\\begin{{document}}\n\\input{{table}}\n\\end{{document}}\n"
    (folder / "document.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    log = (folder / "document.log").read_text(errors="replace")
    assert done.returncode == 0, [line for line in log.splitlines() if line.startswith("!")]
    return log


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Grid]:
    """A small run with everything that the tables read."""
    root = tmp_path_factory.mktemp("tables")
    grid = resolve(synthetic.small_config())
    for name in ("text_only", "text_ends"):
        for key in outputs.ask(grid, name).cells():
            synthetic.write_one(root, grid.cells[key], "metrics")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_counts(outputs.architectures(grid))
    return root, grid


@pytest.mark.parametrize("name", TABLES.names())
def test_a_table_compiles_and_fits_the_page(run, tmp_path, name):
    root, grid = run
    made = render.render(outputs.ask(grid, name), root=root)
    content = made[1].read_text(encoding="utf-8")
    log = compiled(tmp_path, content)
    assert "Overfull" not in log and "Undefined" not in log
    assert not re.search(r"\\caption\{Table ", content), "LaTeX writes the number itself"


def test_the_table_of_claims_compiles_and_fits_the_page(run, tmp_path):
    root, grid = run
    _, decisions = judge.judge(grid, root=root)
    log = compiled(tmp_path, layout.latex(table.lay_out(decisions, "a run")))
    assert "Overfull" not in log
