"""Every figure, drawn from invented results: its files, its numbers, its page, and what it says about itself."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.figures import synthetic

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import catalog, render, scatter, style
from bnonly.figures.data import Architecture, Results, summary
from bnonly.figures.densities import bin_edges
from bnonly.figures.lines import ticks, y_limits
from bnonly.figures.request import Need, request
from bnonly.grid import Grid, resolve

FIGURES = [f"fig{i:02d}" for i in range(1, 26)]
#: One figure of each kind of page.
KINDS = ["fig01", "fig02", "fig03", "fig04", "fig05", "fig09", "fig10", "fig15", "fig23"]
#: With the paper's networks these pages are laid out as others are.
TWINS = ["fig12", "fig14", "fig16", "fig18", "fig20", "fig22", "fig24", "fig25"]

SHEETS: dict = {}

DEPTH, WIDTH, IMAGENET, VGG, SMALL = "cifar-depth", "cifar-width", "imagenet", "vgg", "small"
THREE = (DEPTH, WIDTH, IMAGENET)
#: What the paper shows: panels, series in the order of the legend.
PAPER = {
    1: (THREE, "all all_noaffine"),
    2: (THREE, "all bn rand2 bn_out out"),
    3: ((DEPTH, WIDTH), "bn"),
    4: ((DEPTH, IMAGENET), "all bn"),
    5: (THREE, "all bn"),
    6: (THREE, "all bn"),
    7: (THREE, "all bn"),
    8: ((VGG,), "all all_noaffine"),
    9: ((VGG,), "all bn rand2 bn_out out"),
    11: (THREE, "all all_alt bn bn_alt"),
    12: (THREE, "all bn bn_short_out short_out"),
    13: ((DEPTH, WIDTH), "all bn rand2 rand4 rand8 rand16"),
    14: (THREE, "all bn bn_out rand2_out"),
    **{i: ((DEPTH,), "all bn") for i in (15, 16, 23)},
    **{i: ((WIDTH,), "all bn") for i in (17, 18, 24)},
    **{i: ((IMAGENET,), "all bn") for i in (19, 20, 25)},
    **{i: ((VGG,), "all bn") for i in (21, 22)},
}


def asked(grid: Grid, name: str) -> dict:
    return request(grid, name, catalog.needs(name))


def composed(root: Path, grid: Grid, name: str):
    """A figure's sheet, made once; only looked at."""
    if (root, name) not in SHEETS:
        with render.look():
            SHEETS[root, name] = render.compose(asked(grid, name), root)
    return SHEETS[root, name]


def written(root: Path, grid: Grid, name: str) -> list[Path]:
    """A figure's files, made once; only looked at."""
    made = [root / paths.figure(name, suffix) for suffix in paths.FIGURE_FORMATS]
    return made if made[-1].exists() else render.render(asked(grid, name), root=root)


def numbers(root: Path, grid: Grid, name: str) -> pd.DataFrame:
    return pd.read_csv(written(root, grid, name)[-1])


def texts(sheet) -> list[str]:
    """Everything that is written on a figure."""
    found = [t.get_text() for t in sheet.figure.findobj(match=lambda a: hasattr(a, "get_text")) if t.get_visible()]
    return [t for t in found if t.strip()]


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> tuple[Path, Grid]:
    """Three networks, two seeds, digits; one run diverged with gammas that are not finite."""
    root = tmp_path_factory.mktemp("small")
    grid = resolve(synthetic.small_config())
    synthetic.write(root, grid, most=120, diverged={("ResNet-20", "bn", 1): 0.25, ("ResNet-14", "all", 0): 0.5})
    return root, grid


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> tuple[Path, Grid]:
    """The paper's networks, one seed."""
    root = tmp_path_factory.mktemp("wide")
    config = synthetic.paper_config()
    for experiment in config["experiments"].values():
        experiment["seeds"] = [0]
    grid = resolve(config)
    synthetic.write(root, grid, most=120)
    return root, grid


def tiny(regimes: list[str], architectures: list[str], seeds: list[int]) -> Grid:
    """A grid of the small configuration with other experiments' sizes, for results that a test writes itself."""
    config = synthetic.small_config()
    config["experiments"] = {DEPTH: config["experiments"][DEPTH]}
    config["experiments"][DEPTH] |= {"regimes": regimes, "architectures": architectures, "seeds": seeds}
    config["experiments"][DEPTH]["case_study"] = architectures[0]
    return resolve(config)


def test_the_catalog_has_the_papers_figures():
    assert catalog.names() == FIGURES


def test_an_unknown_figure_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'fig05'"):
        catalog.needs("figure05")


@pytest.mark.parametrize("number", PAPER)
def test_a_figure_needs_what_the_papers_shows(number):
    needs = catalog.needs(f"fig{number:02d}")
    experiments, regimes = PAPER[number]
    assert tuple(n.experiment for n in needs) == experiments
    assert {n.regimes for n in needs} == {tuple(regimes.split())}
    assert {n.case_study for n in needs} == {number == 4}
    assert all("metrics" in n.files for n in needs), "without it a figure cannot tell that a run diverged"


def test_figure_10_needs_small_networks_too():
    assert catalog.needs("fig10") == (Need(DEPTH, ("bn",)), Need(WIDTH, ("bn",)), Need(SMALL, ("all",)))


@pytest.mark.parametrize(
    ("kind", "figures"),
    [("clamping", [6]), ("activations", [7, 23, 24, 25]), ("batchnorm", [4, 5, *range(15, 23)])],
)
def test_only_some_figures_read_more_than_metrics(kind, figures):
    readers = [name for name in FIGURES if any(kind in need.files for need in catalog.needs(name))]
    assert readers == [f"fig{i:02d}" for i in figures]


def test_modules_the_workflow_imports_are_light():
    code = (
        "import sys\n"
        "from bnonly.figures import catalog\n"
        "from bnonly.tables import catalog as tables\n"
        "[c.code_digest(n) and c.needs(n) for c in (catalog, tables) for n in c.names()]\n"
        "print([m for m in ('matplotlib', 'pandas', 'numpy', 'torch', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_imports_no_torch_and_no_pyplot():
    code = (
        "import sys, bnonly.figures.render, bnonly.tables.render\n"
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_needs_and_draw_and_nothing_else(name):
    module = catalog.module(name)
    own = {k for k, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    assert own == {"draw"}
    assert catalog.title(name).startswith(f"Figure {int(name[3:])}: ")
    source = Path(module.__file__).read_text()
    assert "figures.fig" not in source, "a figure imports another"


def test_a_figures_code_is_its_own_file_and_the_shared_ones(tmp_path, monkeypatch):
    for path in catalog.CATALOG.folder.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(catalog.CATALOG, "folder", tmp_path)
    before = {n: catalog.code_digest(n) for n in FIGURES}
    assert len(set(before.values())) == len(FIGURES)

    def changed(file: str) -> set[str]:
        path = tmp_path / file
        content = path.read_bytes()
        path.write_bytes(content + b"# edited\n")
        found = {n for n in FIGURES if catalog.code_digest(n) != before[n]}
        path.write_bytes(content)
        return found

    assert changed("fig05.py") == {"fig05"}
    assert changed("style.py") == set(FIGURES)
    assert changed("data.py") == set(FIGURES)
    assert changed("request.py") == set()


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


@pytest.mark.parametrize(
    ("grid", "name"), [("small", name) for name in FIGURES] + [("wide", name) for name in FIGURES if name not in TWINS]
)
def test_nothing_is_cut_off_or_on_top_of_something_else(grid, name, request):
    sheet = composed(*request.getfixturevalue(grid), name)
    figure = sheet.figure
    figure.draw_without_rendering()
    page = figure.bbox
    slack = 0.5

    def inside(box):
        return min(box.x0, box.y0) >= -slack and box.x1 <= page.x1 + slack and box.y1 <= page.y1 + slack

    def overlap(a, b):
        across = a.x0 < b.x1 - slack and b.x0 < a.x1 - slack
        return across and a.y0 < b.y1 - slack and b.y0 < a.y1 - slack

    def apart(boxes):
        return not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))

    ticks_of = {axis: axis.get_major_ticks() for ax in sheet.axes for axis in (ax.xaxis, ax.yaxis)}
    tick_labels = {label for found in ticks_of.values() for tick in found for label in (tick.label1, tick.label2)}
    everything = set(figure.findobj(match=lambda a: hasattr(a, "get_fontsize") and hasattr(a, "get_text")))
    shown = [t for t in everything - tick_labels if t.get_visible() and t.get_text().strip()]
    for axis, found in ticks_of.items():
        low, high = sorted(axis.get_view_interval())
        labels = [t.label1 for t in found if t.label1.get_text() and low - 1e-9 <= t.get_loc() <= high + 1e-9]
        assert labels
        assert apart([t.get_window_extent() for t in labels]), f"{[t.get_text() for t in labels]} overlap"
        shown += labels
    for text in shown:
        assert inside(text.get_window_extent()), f"'{text.get_text()}' is off the page"
        assert text.get_fontsize() >= 6, f"'{text.get_text()}' is too small"
    panels = [ax.get_tightbbox() for ax in sheet.axes]
    legends = [le.get_window_extent() for le in figure.findobj(match=lambda a: type(a).__name__ == "Legend")]
    footers = [t.get_window_extent() for t in figure.texts]
    assert len(legends) == 1, "one legend a figure"
    assert apart([*panels, *legends, *footers])
    assert 3 < figure.get_size_inches()[0] <= 7


@pytest.mark.parametrize("name", ["fig01", "fig05", "fig06", "fig08"])
@pytest.mark.parametrize("grid", ["small", "wide"])
def test_no_point_lies_outside_its_panel(grid, name, request):
    sheet = composed(*request.getfixturevalue(grid), name)
    for ax in sheet.axes:
        low, high = ax.get_ylim()
        drawn = np.concatenate([np.atleast_1d(line.get_ydata()) for line in ax.lines])
        assert low <= np.nanmin(drawn) and np.nanmax(drawn) <= high


def test_the_papers_limits_are_kept_only_where_its_data_lie_inside():
    def points(*values):
        return pd.DataFrame({"mean": values, "sd": [0.5] * len(values), "n": 5})

    assert y_limits(points(90, 95), (89, 96), paper_data=True) == (89, 96)
    low, high = y_limits(points(85, 95), (89, 96), paper_data=True)
    assert low <= 84.5 and high == 96
    low, high = y_limits(points(94, 94.2), (89, 96), paper_data=False)
    assert 92 < low <= 93.5 and 94.7 <= high < 96
    low, high = y_limits(points(50, 50), (89, 96), paper_data=False)
    assert low <= 49.5 and high >= 50.5
    assert y_limits(points(2, 99.9), (0, 100), paper_data=False) == (0, 100)


def test_accuracies_in_the_csv_are_means_and_sample_deviations(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8", "ResNet-14"], [0, 1, 2])
    accuracies = {("ResNet-8", 0): 0.5, ("ResNet-8", 1): 0.6, ("ResNet-8", 2): 0.7}
    for key, cell in grid.cells.items():
        last = accuracies.get((key[0], key[2]), 0.25)
        known = {"test_top1": [0.9, last], "test_top5": [0.9, last + 0.2]}
        synthetic.write_one(
            tmp_path, cell, "metrics", stopped_at=last if key == ("ResNet-8", "bn", 1) else None, **known
        )
    data = Results(request(grid, "fig02", (Need(DEPTH, ("all", "bn")),)), tmp_path)
    points = summary(data.accuracy(data.panel(DEPTH))).set_index(["architecture", "regime"])
    first = points.loc["ResNet-8", "bn"]
    assert first["mean"] == pytest.approx(60) and first["sd"] == pytest.approx(10)
    assert (first["n"], first["runs"], first["diverged"]) == (3, 3, 1)
    other = points.loc["ResNet-14", "all"]
    assert other["mean"] == pytest.approx(25) and other["sd"] == pytest.approx(0, abs=1e-9) and other["diverged"] == 0
    top5 = summary(data.accuracy(data.panel(DEPTH), top=5)).set_index(["architecture", "regime"])
    assert top5.loc["ResNet-8", "all"]["mean"] == pytest.approx(80)


def test_the_csv_has_every_plotted_point(small):
    root, grid = small
    frame = numbers(root, grid, "fig02")
    # 3 + 2 networks on CIFAR's panels, 2 on ImageNet's, which is there twice; five regimes.
    assert len(frame) == 5 * (3 + 2 + 2 * 2)
    sheet = composed(root, grid, "fig02")
    drawn = sorted(
        y for ax in sheet.axes for line in ax.lines if line.get_marker() in "os^Dv" for y in line.get_ydata()
    )
    assert drawn == pytest.approx(sorted(frame["mean"]))
    assert set(frame["quantity"]) == {"test_top1", "test_top5"}
    assert frame.groupby("panel")["x"].max().to_dict() == {DEPTH: 2, WIDTH: 1, IMAGENET: 1}


def test_chance_is_one_or_five_over_the_number_of_classes(small, wide):
    def levels(sheet):
        lines = [line for ax in sheet.axes for line in ax.lines]
        return [line.get_ydata()[0] for line in lines if line.get_color() == style.CHANCE]

    assert levels(composed(*wide, "fig02")) == pytest.approx([10, 10, 0.1, 0.5])
    assert levels(composed(*small, "fig02")) == pytest.approx([10, 10, 10, 50])


def test_the_regression_is_the_known_one(tmp_path):
    grid = tiny(["bn"], ["ResNet-8", "ResNet-14", "ResNet-20"], [0])
    counts, accuracies = [1000, 2000, 8000], [0.40, 0.46, 0.55]
    for cell, count, accuracy in zip(grid.cells.values(), counts, accuracies, strict=True):
        synthetic.write_one(tmp_path, cell, "metrics", counts={"trainable": count}, test_top1=[0.1, accuracy])
    with render.look():
        sheet = render.Sheet()
        data = Results(request(grid, "fig03", (Need(DEPTH, ("bn",)),)), tmp_path)
        scatter.regressions(sheet, data, (scatter.DEPTH,), "Parameters", (45, 85))
    frame = sheet.numbers
    assert frame["x"].dropna().tolist() == counts
    row = frame[frame["quantity"] == "regression"].iloc[0]
    x, y = np.log2(counts), 100 * np.array(accuracies)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    r = np.corrcoef(x, y)[0, 1]
    t = r * math.sqrt(1 / (1 - r**2))
    assert row["slope"] == pytest.approx(slope) and row["intercept"] == pytest.approx(y.mean() - slope * x.mean())
    assert row["r"] == pytest.approx(r) and row["r2"] == pytest.approx(r**2) and row["n"] == 3
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 1))


def test_a_regression_that_cannot_be_is_said_so(small):
    assert scatter.regress(pd.Series([1000, 2000]), pd.Series([50.0, 60.0])) is None
    assert scatter.regress(pd.Series([1000, 1000, 1000]), pd.Series([50.0, 60.0, 70.0])) is None
    level = scatter.regress(pd.Series([1000, 2000, 4000]), pd.Series([50.0, 50.0, 50.0]))
    assert (level.slope, level.r, level.p) == (0, 0, 1)
    assert any("too few points" in t for t in texts(composed(*small, "fig03")))


def test_figure_3_has_the_papers_axis(wide):
    ax = composed(*wide, "fig03").axes[0]
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert shown == ["1", "2", "4", "8", "16", "32", "64"]
    assert ax.get_ylim() == (45, 85)


def test_fractions_of_small_gammas_are_strict_and_per_run(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8"], [0, 1])
    for cell in grid.cells.values():
        synthetic.write_one(tmp_path, cell, "metrics")
        gammas = [0.0, -0.005, 0.03, -0.07, 1.0] if cell.seed == 0 else [0.0, float("nan"), 0.5, 0.5, 0.5]
        synthetic.write_one(tmp_path, cell, "batchnorm", most=5, gamma_end=gammas)
    data = Results(request(grid, "fig05", (Need(DEPTH, ("all", "bn"), ("metrics", "batchnorm")),)), tmp_path)
    panel = data.panel(DEPTH)
    by_threshold = {t: data.small_gammas(panel, t)["value"].tolist()[:2] for t in (0.01, 0.05, 0.1)}
    assert by_threshold[0.01] == pytest.approx([40, 25])  # the one that is not finite is no gamma at all
    assert by_threshold[0.05] == pytest.approx([60, 25])
    assert by_threshold[0.1] == pytest.approx([80, 25])


def test_clamping_is_the_change_against_the_untouched_network(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0])
    (cell,) = grid.cells.values()
    synthetic.write_one(tmp_path, cell, "metrics")
    known = {"threshold": [0.1, 0.0, 0.01, 0.05], "test_top1": [0.50, 0.80, 0.795, 0.79]}
    synthetic.write_one(tmp_path, cell, "clamping", **known)
    need = (Need(DEPTH, ("all",), ("metrics", "clamping")),)
    data = Results(request(grid, "fig06", need), tmp_path)
    changes = [data.clamping_change(data.panel(DEPTH), t)["value"].item() for t in (0.01, 0.05, 0.1)]
    assert changes == pytest.approx([-0.5, -1, -30])
    with pytest.raises(UserError, match=r"clamping\.parquet.*no threshold 0\.2"):
        data.clamping_change(data.panel(DEPTH), 0.2)


def test_a_disabled_activation_is_zero_more_than_99_percent_of_the_time(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0])
    (cell,) = grid.cells.values()
    synthetic.write_one(tmp_path, cell, "metrics")
    synthetic.write_one(tmp_path, cell, "activations", most=4, zero=[0.99, 0.9901, 1.0, 0.0])
    data = Results(request(grid, "fig07", (Need(DEPTH, ("all",), ("metrics", "activations")),)), tmp_path)
    assert data.disabled_activations(data.panel(DEPTH))["value"].item() == pytest.approx(50)


def test_runs_on_different_data_of_one_name_are_not_shown_together(tmp_path):
    grid = tiny(["all"], ["ResNet-8"], [0, 1])
    for cell, data_sha256 in zip(grid.cells.values(), ("1" * 64, "2" * 64), strict=True):
        synthetic.write_one(tmp_path, cell, "metrics", data_sha256=data_sha256)
    data = Results(request(grid, "fig02", (Need(DEPTH, ("all",)),)), tmp_path)
    with pytest.raises(UserError, match="seed1/metrics.parquet: was trained on other .* data than .*seed0"):
        data.accuracy(data.panel(DEPTH))


@pytest.mark.parametrize("name", ["fig04", "fig15", "fig16", "fig21", "fig23"])
def test_densities_integrate_to_the_values_they_show(small, name):
    root, grid = small
    frame = numbers(root, grid, name)
    for _, bins in frame.groupby(["panel", "architecture", "regime"]):
        total = bins["values"].iloc[0]
        shown = (bins["density"] * (bins["right"] - bins["left"])).sum()
        assert shown == pytest.approx((total - bins["outside"].iloc[0]) / total)
        assert bins["count"].sum() == total - bins["outside"].iloc[0]


def test_densities_pool_replicates_and_leave_out_what_is_not_finite(small):
    root, grid = small
    frame = (
        numbers(root, grid, "fig15").drop_duplicates(["architecture", "regime"]).set_index(["architecture", "regime"])
    )
    healthy, broken = frame.loc["ResNet-8", "bn"], frame.loc["ResNet-20", "bn"]
    assert (healthy["values"], healthy["not_finite"], healthy["n"], healthy["diverged"]) == (2 * 120, 0, 2, 0)
    assert (broken["values"], broken["not_finite"], broken["n"], broken["diverged"]) == (120, 120, 2, 1)


def test_bins_are_centred_on_zero_and_bounded():
    rng = np.random.default_rng(0)
    spike = np.concatenate([rng.normal(0.3, 0.2, 4000), np.zeros(1000)])
    edges = bin_edges([spike])
    assert np.isclose(np.abs(edges + np.diff(edges)[0] / 2), 0).any(), "zero is the middle of a bin"
    assert edges[0] <= spike.min() and spike.max() <= edges[-1]
    far = bin_edges([np.concatenate([spike, [50.0]])])
    assert far[-1] < 2, "one far value must not squeeze the rest"
    for constant in (0.0, 1.0):
        edges = bin_edges([np.full(10, constant)])
        assert edges[0] < constant < edges[-1]
    assert len(bin_edges([np.array([])])) == 2


def test_constant_gammas_and_runs_without_any_finite_value_are_drawn(tmp_path):
    grid = tiny(["all", "bn"], ["ResNet-8"], [0])
    for cell in grid.cells.values():
        stopped = 0.1 if cell.regime.name == "bn" else None
        synthetic.write_one(tmp_path, cell, "metrics", stopped_at=stopped)
        gammas = [1.0] * 8 if stopped is None else [float("nan")] * 8
        synthetic.write_one(tmp_path, cell, "batchnorm", most=8, gamma_end=gammas)
    need = (Need(DEPTH, ("all", "bn"), ("metrics", "batchnorm")),)
    for name in ("fig15", "fig05"):
        with render.look():
            data, sheet = Results(request(grid, name, need), tmp_path), render.Sheet()
            catalog.module(name).draw(sheet, data)
            sheet.finish()
            sheet.figure.savefig(io.BytesIO(), format="pdf")
        assert any("not finite" in t or "without a finite value" in t for t in texts(sheet))


@pytest.mark.parametrize("name", [n for n in FIGURES if n not in ("fig01", "fig08", "fig13")])
def test_a_figure_says_how_many_runs_diverged(small, name):
    root, grid = small
    ask = asked(grid, name)
    shown = {(f, r) for p in ask["panels"] for f, by in p["cells"].items() for r in by}
    sick = shown & {("ResNet-20", "bn"), ("ResNet-14", "all")}
    sheet = composed(root, grid, name)
    said = texts(sheet)
    marks = [t for t in said if t.removeprefix("× ") == "1/2"]
    assert len(marks) == sum(1 for p in ask["panels"] for f, by in p["cells"].items() for r in by if (f, r) in sick)
    assert any(f"({len(sick)} of " in t for t in said) == bool(sick)
    frame = sheet.numbers
    frame = frame[frame["quantity"] != "regression"]
    counted = frame[frame["diverged"] > 0].drop_duplicates(["panel", "architecture", "regime"])
    assert len(counted) == len(marks)


def test_a_figure_of_other_data_says_so_and_claims_nothing(small, wide):
    for name in KINDS:
        said = texts(composed(*small, name))
        assert any("handwritten digits" in t and "not the paper's" in t for t in said)
        for text in said:
            if "CIFAR-10" in text or "ImageNet" in text:
                assert "handwritten digits" in " ".join(text.split()) or text.startswith("ImageNet-ResNet-"), text
        assert not any("not the paper's" in t for t in texts(composed(*wide, name)))


def test_single_runs_are_said_to_be_so(wide, small):
    assert any("single run" in t for t in texts(composed(*wide, "fig02")))
    assert not any("single run" in t for t in texts(composed(*small, "fig02")))
    assert composed(*wide, "fig02").numbers["sd"].isna().all()


def test_tick_labels_that_do_not_fit_are_made_to_fit(small):
    root, _ = small
    config = synthetic.small_config()
    for name in config["experiments"][DEPTH]["architectures"]:
        config["architectures"][name]["label"] = f"A long name of {name} that is shown whole"
    with render.look():
        sheet = render.compose(asked(resolve(config), "fig05"), root)
    turned, straight = sheet.axes[0].get_xticklabels(), sheet.axes[1].get_xticklabels()
    assert {t.get_rotation() for t in turned} == {90} and {t.get_rotation() for t in straight} == {0}
    boxes = [t.get_window_extent() for t in turned]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert min(b.y0 for b in boxes) > 0
    assert sheet.axes[0].get_window_extent().height > 60


@pytest.mark.parametrize("longer", ["", ", whose name leaves no room for it beside the panels"])
def test_the_legend_fills_the_empty_place_where_it_fits(wide, longer):
    root, grid = wide
    ask = asked(grid, "fig15")  # seven panels in two rows of four
    ask["labels"]["all"] += longer
    with render.look():
        sheet = render.compose(ask, root)
    (legend,) = sheet.figure.findobj(match=lambda a: type(a).__name__ == "Legend")
    last = sheet.axes[-1].get_window_extent()
    box = legend.get_window_extent()
    beside = last.y0 < box.y0 and box.y1 < last.y1
    assert beside == (not longer) and (beside or box.y1 < last.y0)


def test_ticks_are_the_numbers_of_the_names():
    def archs(*labels):
        return [Architecture(x, x, x, "cifar-resnet", 14, 16) for x in labels]

    assert ticks(archs("ResNet-14", "ResNet-110")) == ["14", "110"]
    assert ticks(archs("WRN-14-1", "WRN-14-16")) == ["14-1", "14-16"]
    assert ticks(archs("ImageNet-ResNet-18", "VGG-19")) == ["18", "19"]
    assert ticks(archs("ResNet-8-c4", "ResNet-8")) == ["ResNet-8-c4", "ResNet-8"]
    assert ticks(archs("ResNet-14", "VGG-14")) == ["ResNet-14", "VGG-14"]
    assert ticks(archs("mine", "yours")) == ["mine", "yours"]


def luminance(color: str) -> float:
    """CIE lightness, 0 to 100."""
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16


@pytest.mark.parametrize("number", PAPER)
def test_the_series_of_a_figure_differ_in_lightness_marker_and_look(number):
    styles = style.of_regimes(PAPER[number][1].split())
    for a, b in itertools.combinations(styles.values(), 2):
        assert a.marker != b.marker
        assert abs(luminance(a.color) - luminance(b.color)) > 6


def test_unknown_regimes_get_styles_of_their_own():
    names = ["bn", "bn_binary", "mine", "yours"]
    styles = style.of_regimes(names)
    assert len(set(styles.values())) == len(names)
    assert styles["bn"] == style.REGIMES["bn"]
    assert style.of_regimes(["mine"])["mine"] == style.of_regimes(["all", "mine"])["mine"]


def test_results_of_another_configuration_are_refused(tmp_path, small):
    root, grid = small
    config = synthetic.small_config()
    config["recipes"]["cifar10"]["lr"] = 0.2
    with pytest.raises(UserError, match=r"metrics\.parquet: was made by another configuration"):
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
    lacking = [e for e in (WIDTH, IMAGENET) if e in [n.experiment for n in catalog.needs(name)]]
    assert any(f"Experiments left out: {', '.join(lacking)}." in " ".join(t.split()) for t in texts(sheet))
    assert set(sheet.numbers["panel"]) == {n.experiment for n in catalog.needs(name)} - {WIDTH, IMAGENET}


def test_with_one_row_of_four_gone_the_others_keep_their_place(small):
    root, _ = small
    with render.look():
        sheet = render.compose(asked(without(WIDTH), "fig02"), root)
    assert [ax.get_ylabel().split()[0] for ax in sheet.axes] == ["Test", "Top-1", "Top-5"]


def test_a_figure_without_any_of_its_experiments_is_refused():
    with pytest.raises(UserError, match=r"fig09 needs experiments\.vgg"):
        asked(without(VGG), "fig09")
