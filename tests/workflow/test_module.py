"""Another workflow uses this one as a Snakemake module."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

IMPORTER = """
configfile: "mine.yaml"

rule mine:
    input: "results/ResNet-8/bn/seed0/metrics.parquet"
    output: "mine.txt"
    shell: "ls {{input}} > {{output}}"

module bnonly:
    snakefile: "{snakefile}"
    config: config

use rule * from bnonly as bnonly_*
"""


@pytest.fixture
def importer(tmp_path):
    """A workflow of somebody else, in a folder of its own."""
    demo = (ROOT / "workflow/profiles/demo/grid.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(demo.replace("title: demo", "title: mine\nscale: 0.25"))
    (tmp_path / "Snakefile").write_text(IMPORTER.format(snakefile=os.path.relpath(ROOT / "Snakefile", tmp_path)))

    def run(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_module_plans_trains_and_draws_in_the_importer_s_folder(importer, tmp_path):
    status, said = importer("--dry-run")
    assert status == 0 and re.search(r"^bnonly_train +1$", said, re.MULTILINE), said[-3000:]
    assert not re.search(r"^bnonly_all", said, re.MULTILINE)  # the importer's first rule stays its default target
    assert not (tmp_path / "results").exists()
    assert importer("--dry-run", "bnonly_fig10")[0] == 0
    status, said = importer()
    assert status == 0, said[-3000:]
    assert "device: cpu" in said and "results/ResNet-8/bn/seed0" in (tmp_path / "mine.txt").read_text()
    assert '"title":"mine"' in (tmp_path / "results/.configuration.json").read_text().replace(": ", ":")
    assert importer("bnonly_counts")[0] == 0  # reads the recorded configuration
    assert (tmp_path / "results/counts.csv").exists()
    assert "Nothing to be done" in importer()[1]


def test_a_mistake_in_a_module_s_configuration_is_named(importer, tmp_path):
    with (tmp_path / "mine.yaml").open("a") as file:
        file.write("\nscael: 2\n")
    status, said = importer("--dry-run")
    assert status == 1
    assert "bnonly: error: the module's config: unknown key scael; did you mean 'scale'" in said
