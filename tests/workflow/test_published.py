"""The published results: their archive gives every figure again, without data and without a training."""

import os
import subprocess
import sys

import pytest
from tests.conftest import ROOT

pytestmark = pytest.mark.workflow

PUBLISHED = sorted((ROOT / "docs/results").rglob("results.zip"))


def run(module, *arguments, data):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=1200, env=os.environ | {"BNONLY_DATA": str(data)},
    )  # fmt: skip


@pytest.mark.skipif(not PUBLISHED, reason="docs/results has no archive yet; bnonly publish makes one")
@pytest.mark.parametrize("archive", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_archive_gives_every_published_figure_again(archive, tmp_path):
    folder, data = tmp_path / "run", tmp_path / "no-data"
    done = run("bnonly", "-C", folder, "import", archive, "--own-configuration", data=data)
    assert done.returncode == 0, done.stderr
    done = run("snakemake", "--profile", folder / "profile", "--cores", 1, "--", "figures/all", data=data)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not list((folder / "logs").glob("train/*")) and not list((folder / "logs").glob("analyse/*"))
    published = sorted(archive.parent.glob("*.csv"))
    assert published
    for file in published:
        assert (folder / "figures" / file.name).read_bytes() == file.read_bytes(), file.name
