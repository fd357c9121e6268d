"""What others wrote, in labels, failure reasons and files, is text: it runs nowhere and hides nothing."""

from __future__ import annotations

import csv
import html
import io
import json

import pytest
from tests.figures import synthetic

from bnonly import paths
from bnonly.console import plain
from bnonly.figures import outputs, staleness
from bnonly.figures.make import make
from bnonly.figures.tables import layout
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.report.exhibits import _cells
from bnonly.report.write import report

FORMULA = '=HYPERLINK("http://example.org", A1)'
MARKUP = "<img src=x onerror=alert(1)>|<script>alert(2)</script> & co"


@pytest.mark.parametrize("text", [FORMULA, "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)"])
def test_no_cell_of_a_csv_file_is_a_formula(text):
    table = layout.Table("t", ["a"], [[text]], ["a", "b"], [[text, -1.5]])
    assert list(csv.reader(io.StringIO(layout.comma_separated(table), newline="")))[1] == [f"'{text}", "-1.5"]


def test_no_text_breaks_a_row_of_a_csv_file():
    table = layout.Table("t", ["a"], [["x"]], ["a"], [["one\rtwo\nthree"]])
    assert layout.comma_separated(table).splitlines() == ["a", "one\\x0dtwo\\x0athree"]


@pytest.mark.parametrize("text", ["", "ResNet-14", "-1.5", "+2e-3", "−1.5", "a = b"])
def test_other_text_of_a_csv_file_is_left_alone(text):
    assert layout.not_a_formula(text) == text


def test_markdown_has_no_html_and_the_report_reads_it_back():
    text = layout.markdown(layout.Table(MARKUP, ["", MARKUP], [["row", MARKUP]], [], [], notes=(MARKUP,)))
    assert "<" not in text
    assert [_cells(line)[1] for line in text.splitlines() if line.startswith("| ")][::2] == [MARKUP, MARKUP]


def test_escape_codes_and_changes_of_direction_are_spelt_out():
    assert plain("\x1b[2J\x07\u202egnp\u2028 5\u00a0% γ") == "\\x1b[2J\\x07\\x202egnp\\x2028 5\u00a0% γ"


def test_labels_and_failures_are_text_in_figures_and_report(tmp_path, monkeypatch):
    config = synthetic.small_config()
    config["regimes"]["bn"]["label"] = f"{FORMULA} {MARKUP}"
    grid = resolve(config)
    synthetic.write(tmp_path, grid, ["fig02"])
    monkeypatch.chdir(tmp_path)
    make(outputs.ask(grid, "fig02"))
    with paths.figure("fig02", "csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert any(FORMULA in str(row) for row in rows)
    assert not any(str(value).startswith("=") for row in rows for value in row.values())
    cell = grid.cells[Key("VGG-11", "bn", 0)]
    failed = paths.failure(cell.key.folder)
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({"reason": f"\x1b[2J\x1b]0;{MARKUP}\x07", "times": 1, "digest": cell.digest()}))
    page = report(grid).read_text(encoding="utf-8")
    assert "\x1b" not in page and "\\x1b[2J\\x1b]0;" in page
    assert (
        page.count("<script>") == 1 and "<img src=x" not in page and html.escape(MARKUP) in page.replace("&#39;", "'")
    )


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xfe label,mean\n1,2\n", b"label\n", b"mean,mean\n1\n"]
)
def test_a_damaged_file_costs_its_own_place_only(made, tmp_path, monkeypatch, content):
    """Whatever a figure's files hold, even where the record of their checksums agrees, the page is written."""
    import shutil

    from tests.report.runs import small

    grid = small(title="demo <run> & more")
    shutil.copytree(made.parent, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    genuine, changed = staleness.fault_of, ("fig02", "fig03", "table1")
    monkeypatch.setattr(staleness, "fault_of", lambda a, root: None if a.name in changed else genuine(a, root))
    for name in ("fig02", "fig03"):
        for suffix in ("png", "csv"):
            paths.figure(name, suffix).write_bytes(content)
    paths.table("table1", "md").write_bytes(content)
    page = report(grid).read_text(encoding="utf-8")
    assert page.count("a file is damaged. Draw it with") == 2 and page.count("a file is damaged. Make it with") == 1
    assert page.count("<img ") == 1
