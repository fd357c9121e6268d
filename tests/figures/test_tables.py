"""The tables: counts as the paper prints them and exactly, and what the text states without a figure."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.figures import synthetic

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.figures.catalog import COUNTED, TABLES
from bnonly.figures.needs import Need, request
from bnonly.figures.tables import counts, layout, render
from bnonly.grid.resolve import Grid, resolve

HEAD = "architecture,family,depth,channels,classes,total,batchnorm,output,shortcut\n"
COUNTS = {
    "ResNet-8": (78_042, 672, 650, 2_560),
    "ResNet-14": (175_258, 1_120, 650, 2_560),
    "ResNet-20": (272_474, 1_568, 650, 2_560),
    "WRN-8-1": (78_042, 672, 650, 2_560),
    "WRN-8-2": (308_906, 1_344, 1_290, 10_240),
    "ImageNet-ResNet-10": (44_549_160, 105_344, 2_049_000, 2_768_896),
    "ImageNet-ResNet-18": (11_689_512, 9_600, 513_000, 172_032),
    "VGG-11": (9_231_114, 5_504, 5_130, 0),
}


@pytest.fixture
def grid() -> Grid:
    return resolve(synthetic.small_config())


@pytest.fixture
def root(tmp_path) -> Path:
    rows = [f"{name},-,0,0,10,{','.join(map(str, found))}\n" for name, found in COUNTS.items()]
    (tmp_path / paths.counts()).parent.mkdir()
    (tmp_path / paths.counts()).write_text(HEAD + "".join(rows))
    return tmp_path


def made(root: Path, grid: Grid, name: str) -> dict[str, str]:
    """The content of a table's files, by suffix."""
    written = render.render(request(grid, name, TABLES.needs(name)), root=root)
    assert written == [root / paths.table(name, suffix) for suffix in paths.TABLE_FORMATS]
    return {path.suffix[1:]: path.read_text() for path in written}


def rows_of(markdown: str) -> dict[str, list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells_of = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first.strip(): rest for first, *rest in cells_of}


@pytest.mark.parametrize(
    ("count", "printed"),
    [
        (650, "650"),
        (999, "999"),
        (1_120, "1.12K"),
        (9_600, "9.60K"),
        (10_250, "10.3K"),  # a tie; the paper rounds it up
        (16_352, "16.4K"),
        (175_258, "175K"),
        (999_600, "1.00M"),
        (1_730_714, "1.73M"),
        (13_979_930, "14.0M"),
        (177_279_498, "177M"),
        (2_500_000_000, "2500M"),
        (0, "0"),
    ],
)
def test_counts_are_printed_as_in_the_paper(count, printed):
    assert counts.short(count) == printed


def test_appendix_c_prints_two_decimals():
    assert [counts.short(n, decimals=2) for n in (14_728_266, 11_008, 5_130, 650)] == [
        "14.73M",
        "11.01K",
        "5.13K",
        "650",
    ]
    assert [counts.percentage(n, 9_231_114) for n in (5_504, 5_130)] == ["0.06%", "0.06%"]


def test_the_catalog():
    assert TABLES.names() == ["table1", "table_b", "table_c1", "table_c2", "text_ends", "text_only"]
    assert set(COUNTED) < set(TABLES.names())
    with pytest.raises(UserError, match="did you mean 'table_b'"):
        TABLES.needs("tableb")
    assert len({TABLES.code_digest(n) for n in TABLES.names()}) == 6


def test_tables_of_architectures_read_no_results(grid):
    for name in ("table1", "table_b", "table_c1", "table_c2"):
        assert request(grid, name, TABLES.needs(name)).files() == []


def test_table_1_prints_rounded_and_keeps_exact_counts(root, grid):
    table = made(root, grid, "table1")
    rows = rows_of(table["md"])
    names = ["ResNet-8", "ResNet-14", "ResNet-20", "WRN-8-1", "WRN-8-2", "ImageNet-ResNet-10", "ImageNet-ResNet-18"]
    assert rows[""] == names
    families = ["CIFAR-10 ResNet"] * 3 + ["CIFAR-10 WRN"] * 2 + ["ImageNet ResNet"] * 2
    assert rows["Family"] == [f"{family}, on handwritten digits" for family in families]
    assert next(line for line in table["md"].splitlines()[4:]).startswith("| Family ")
    assert r"Family & \multicolumn{3}{c}{CIFAR-10 ResNet, on handwritten digits} & \multicolumn{2}" in table["tex"]
    assert rows["Depth"] == ["8", "14", "20", "8", "8", "10", "18"]
    assert rows["Width scale"] == ["1", "1", "1", "1", "2", "0.0625", "0.0625"]
    assert rows["Total"][1] == "175K" and rows["Total"][5] == "44.5M"
    assert rows["BatchNorm"][1] == "1.12K" and rows["BatchNorm (%)"][1] == "0.64%"
    assert rows["Shortcut"][6] == "172K" and rows["Shortcut (%)"][6] == "1.47%"
    exact = {row["architecture"]: row for row in csv.DictReader(table["csv"].splitlines())}
    assert [exact[name]["family"] for name in names] == rows["Family"]
    for name in names:
        found = tuple(int(exact[name][part]) for part in ("total", "batchnorm", "output", "shortcut"))
        assert found == COUNTS[name]
    assert float(exact["ResNet-14"]["output_percent"]) == pytest.approx(100 * 650 / 175_258)


def test_table_c2_has_no_shortcuts(root, grid):
    rows = rows_of(made(root, grid, "table_c2")["md"])
    assert rows["Total"] == ["9.23M"] and rows["BatchNorm"] == ["5.50K"] and "Shortcut" not in rows


def test_appendix_tables_are_the_papers(tmp_path):
    grid = synthetic.paper_grid()
    blocks = rows_of(made(tmp_path, grid, "table_b")["md"])
    assert blocks["ResNet-101"][1:] == ["3", "4", "23", "3"] and blocks["ResNet-200"][1:] == ["3", "24", "36", "3"]
    assert blocks["ResNet-18"] == ["basic", "2", "2", "2", "2"] and blocks["ResNet-50"][0] == "bottleneck"
    layers = rows_of(made(tmp_path, grid, "table_c1")["md"])
    assert layers["VGG-11"] == ["64, M, 128, M, 256, 256, M, 512, 512, M, 512, 512"]
    assert layers["VGG-16"] == ["64, 64, M, 128, 128, M, 256, 256, 256, M, 512, 512, 512, M, 512, 512, 512"]


def test_counts_that_are_missing_or_foreign_are_refused(root, grid):
    path = root / paths.counts()
    path.write_text(path.read_text().replace("WRN-8-2", "WRN-9-9"))
    with pytest.raises(UserError, match=r"counts\.csv has no WRN-8-2"):
        made(root, grid, "table1")
    path.write_text("something,else\n1,2\n")
    with pytest.raises(UserError, match="not a table of parameter counts"):
        made(root, grid, "table1")
    path.unlink()
    with pytest.raises(UserError, match="bnonly counts"):
        made(root, grid, "table1")


def test_another_configuration_and_other_data_are_named(root, grid):
    table = made(root, grid, "table1")
    for suffix in ("md", "tex"):
        assert "Not the paper's table" in table[suffix] and "handwritten digits instead of CIFAR-10" in table[suffix]
    assert "the paper's" not in made(root, synthetic.paper_grid(), "table_b")["md"]


def test_text_only_pairs_by_seed(tmp_path, grid):
    asked = request(grid, "text_only", TABLES.needs("text_only"))
    accuracies = {
        ("ResNet-8", "bn", 0): 0.50,
        ("ResNet-8", "bn", 1): 0.60,
        ("ResNet-8", "bn_binary", 0): 0.51,
        ("ResNet-8", "bn_binary", 1): 0.59,
    }
    for key in asked.cells():
        last = accuracies.get(key, 0.4)
        stopped = last if key == ("ResNet-8", "bn_binary", 1) else None
        synthetic.write_one(tmp_path, grid.cell(*key), "metrics", stopped_at=stopped, test_top1=[0.1, last])
    table = made(tmp_path, grid, "text_only")
    rows = list(csv.DictReader(table["csv"].splitlines()))
    assert len(rows) == 2 * 8, "eight comparisons, on one network in depth and one in width"
    (row,) = [r for r in rows if (r["architecture"], r["regime"]) == ("ResNet-8", "bn_binary")]
    assert (row["reference"], row["pairs"], row["diverged"], row["reference_diverged"]) == ("bn", "2", "1", "0")
    assert float(row["mean"]) == pytest.approx(55) and float(row["reference_mean"]) == pytest.approx(55)
    assert float(row["difference"]) == pytest.approx(0) and float(row["difference_sd"]) == pytest.approx(2**0.5)
    (line,) = [x for x in table["md"].splitlines() if "ResNet-8" in x and "binarised" in x]
    assert "55.00 ± 5.66 (1 diverged)" in line and "55.00 ± 7.07" in line and "± 1.41" in line and "E.1" in line


def test_text_only_asks_for_no_more_references_than_it_compares(grid):
    needs = TABLES.needs("text_only")
    assert [n.experiment for n in needs] == ["text-depth", "cifar-depth", "text-width", "cifar-width"]
    asked = request(grid, "text_only", needs)
    depth = asked.panels[1]
    assert [a.name for a in depth.architectures] == ["ResNet-8"]
    assert depth.regimes == ("all", "all_noaffine", "bn", "rand2")


def test_text_only_is_made_unless_its_experiments_are_on_request_or_left_out():
    def wanted(*left_out, on_request):
        config = synthetic.small_config()
        for name in ("text-depth", "text-width"):
            config["experiments"][name]["on_request"] = on_request
        for name in left_out:
            del config["experiments"][name]
        return "text_only" in outputs.wanted(resolve(config))

    assert wanted(on_request=False) and wanted("text-width", on_request=False)
    assert not wanted(on_request=True) and not wanted("text-depth", "text-width", on_request=False)
    assert "text_only" not in outputs.wanted(synthetic.paper_grid())


def test_a_comparison_without_a_common_network_is_refused(grid):
    with pytest.raises(UserError, match=r"experiments\.vgg with experiments\.small"):
        request(grid, "text_only", (Need("small", ("all",), among="vgg"),))


def test_latex_escapes_what_it_must():
    table = layout.Table(
        title="50% & more",
        columns=["a_b", "γ < 1"],
        rows=[["x#1", "−1.0 ± 0.5"]],
        exact_columns=["a", "b"],
        exact_rows=[[1, float("nan")]],
        groups=(("both", 1),),
    )
    text = layout.latex(table)
    for escaped in (r"50\% \& more", r"a\_b", r"$\gamma$ $<$ 1", r"x\#1", r"$-$1.0 $\pm$ 0.5", r"\begin{tabular}{lr}"):
        assert escaped in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert layout.comma_separated(table) == "a,b\n1,\n"
    assert layout.markdown(table).splitlines()[2] == r"| a_b |      γ < 1 |"


def test_text_only_compares_what_the_run_has(tmp_path):
    config = synthetic.small_config()
    del config["experiments"]["text-depth"]
    grid = resolve(config)
    asked = request(grid, "text_only", TABLES.needs("text_only"))
    assert [p.experiment for p in asked.panels] == ["text-width", "cifar-width"]
    for key in asked.cells():
        synthetic.write_one(tmp_path, grid.cell(*key), "metrics")
    table = made(tmp_path, grid, "text_only")
    assert {row["panel"] for row in csv.DictReader(table["csv"].splitlines())} == {"text-width"}
    assert "experiments left out: text-depth" in table["md"]


def test_text_ends_compares_the_ends_of_depth_and_width():
    grid = synthetic.paper_grid()
    asked = outputs.ask(grid, "text_ends")
    shown = {p.experiment: [a.name for a in p.architectures] for p in asked.panels}
    assert shown == {
        "ends": ["ResNet-866", "WRN-14-32", "VGG-16"],
        "cifar-depth": ["ResNet-866"],
        "cifar-width": ["WRN-14-32"],
        "vgg": ["VGG-16"],
        "ends-imagenet": ["ImageNet-ResNet-50"],
        "imagenet": ["ImageNet-ResNet-50"],
    }
    assert "text_ends" not in outputs.wanted(grid)  # on request
