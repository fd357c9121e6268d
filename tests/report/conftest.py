"""Reports of two runs, and a browser to open them in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.figures import synthetic
from tests.report import browser
from tests.report.runs import DRAWN, PAPER, small

from bnonly.figures import outputs
from bnonly.figures.make import make
from bnonly.networks.counts import write_counts
from bnonly.report.write import report
from bnonly.verdicts.judge import judge
from bnonly.verdicts.verdict import Decision


@pytest.fixture(scope="package")
def made(tmp_path_factory) -> Path:
    """The report of a small run on other data: results of three figures, one run diverged."""
    root, found = tmp_path_factory.mktemp("report"), small(title="demo <run> & more")
    synthetic.write(root, found, DRAWN, diverged={("ResNet-14", "bn", 1): 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_counts(outputs.architectures(found))
        for name in [*DRAWN, "table1"]:
            make(outputs.ask(found, name))
    return root / report(found, PAPER, root=root).relative_to(root)


@pytest.fixture(scope="package")
def text(made) -> str:
    return made.read_text(encoding="utf-8")


@pytest.fixture(scope="package")
def decisions(papers) -> list[Decision]:
    return judge(PAPER, root=papers.parent)[1]


@pytest.fixture(scope="package")
def papers(tmp_path_factory) -> Path:
    """The report of a run with the paper's data, as far as Figures 2 and 3 need it."""
    root, paper = tmp_path_factory.mktemp("papers"), PAPER
    synthetic.write(root, paper, ["fig02", "fig03"])
    return report(paper, paper, root=root)


@pytest.fixture(scope="package")
def page(made, tmp_path_factory):
    if not browser.find():
        pytest.skip("no Chromium on this machine; on Debian and Ubuntu: apt-get install chromium")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(page, made):
    page.view(1280, 900)
    page.requests.clear()
    page.errors.clear()
    page.open(made)
    return page
