"""The page of a figure: nothing cut off, axes, legend, tick labels, and what it says about itself."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from tests.figures import synthetic
from tests.figures.drawing import DEPTH, FIGURES, KINDS, PAPER, asked, composed, texts

from bnonly.figures import render
from bnonly.figures.drawing import style
from bnonly.figures.drawing.lines import ticks, y_limits
from bnonly.figures.needs import Architecture
from bnonly.grid.resolve import resolve

#: With the paper's networks these pages are laid out as others are.
TWINS = ["fig12", "fig14", "fig16", "fig18", "fig20", "fig22", "fig24", "fig25"]

ALL, BN, CHANCE = "All Params Trainable", "BatchNorm", "Chance"
#: As printed in the paper, where it is a figure's own.
LEGENDS = {
    **dict.fromkeys((1, 8), ["All Parameters Trainable", "All Parameters Trainable (γ and β Disabled)"]),
    **dict.fromkeys((2, 9), [ALL, BN, "2 Random Params Per Channel", "BatchNorm + Output", "Output", CHANCE]),
    3: ["Increasing Depth", "Increasing Width"],
    **dict.fromkeys((4, 7, *range(15, 26)), [ALL, BN]),
    5: [f"{ALL}, t=0.01", "t=0.05", "t=0.1", f"{BN}, t=0.01", "t=0.05", "t=0.1"],
    6: [f"{ALL}, |γ| < 0.01", "|γ| < 0.05", "|γ| < 0.1", f"{BN}, |γ| < 0.01", "|γ| < 0.05", "|γ| < 0.1"],
    10: ["Increasing Depth", "Increasing Width", "Small, Trainable ResNets"],
    11: [ALL, f"{ALL}, Alternate Init", BN, f"{BN}, Alternate Init", CHANCE],
    12: [ALL, BN, "BatchNorm + Shortcuts + Output", "Shortcuts + Output", CHANCE],
    13: [ALL, BN, "Random Params per Channel: 2", "4", "8", "16", CHANCE],
    14: [ALL, BN, "BatchNorm + Output", "Two Random Params per Channel + Output", CHANCE],
}
PANELS = ["CIFAR-10 ResNet", "CIFAR-10 WRN", "ImageNet ResNet", "ImageNet ResNet"]
ACCURACY, TOPS = "Test Accuracy (%)", ["Top-1 Test Accuracy (%)", "Top-5 Test Accuracy (%)"]
#: Of every panel, below and beside it; a label that repeats its neighbour's is left out.
LABELS = {
    1: list(zip(PANELS, [ACCURACY, "", TOPS[0]], strict=False)),
    **dict.fromkeys((2, 11, 12, 14), list(zip(PANELS, [ACCURACY, "", *TOPS], strict=True))),
    3: [("Thousands of BatchNorm Parameters (log scale)", ACCURACY)],
    5: list(zip(PANELS, ["Fraction of |γ| < t (%)", "", ""], strict=False)),
    6: list(zip(PANELS, ["Change in Accuracy (%)", "", "Change in Top-1 Accuracy (%)"], strict=False)),
    7: list(zip(PANELS, ["% of Activations Disabled", "", ""], strict=False)),
    **dict.fromkeys((8, 9), [("CIFAR-10 VGG", ACCURACY)]),
    10: [("Thousands of Trainable Parameters (log scale)", ACCURACY)],
    13: list(zip(PANELS, [ACCURACY, ""], strict=False)),
}


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


@pytest.mark.parametrize("name", ["fig01", "fig05", "fig06", "fig07", "fig08"])
@pytest.mark.parametrize("grid", ["small", "wide"])
def test_no_point_lies_outside_its_panel(grid, name, request):
    sheet = composed(*request.getfixturevalue(grid), name)
    cut = any("cut off at 0%" in t for t in texts(sheet))
    for ax in sheet.axes:
        low, high = ax.get_ylim()
        # An error bar ends in dashes; only those of shares may be cut off, and only where the figure says so.
        drawn = np.concatenate([np.atleast_1d(x.get_ydata()) for x in ax.lines if not (cut and x.get_marker() == "_")])
        assert low <= np.nanmin(drawn) and np.nanmax(drawn) <= high


@pytest.mark.parametrize("name", ["fig01", "fig02", "fig05", "fig06", "fig07", "fig11", "fig13"])
@pytest.mark.parametrize("grid", ["small", "wide"])
def test_panels_whose_label_is_dropped_have_their_neighbours_axis(grid, name, request):
    axes = composed(*request.getfixturevalue(grid), name).axes
    dropped = [(left, ax) for left, ax in itertools.pairwise(axes) if not ax.get_ylabel()]
    assert dropped and axes[0].get_ylabel()
    assert all(left.get_ylim() == ax.get_ylim() for left, ax in dropped)


@pytest.mark.parametrize("grid", ["small", "wide"])
def test_shares_begin_at_zero_and_changes_show_it(grid, request):
    def limits(name):
        return [ax.get_ylim() for ax in composed(*request.getfixturevalue(grid), name).axes]

    assert {low for name in ("fig05", "fig07") for low, _ in limits(name)} == {0}
    assert all(low < 0 <= high for low, high in limits("fig06"))


@pytest.mark.parametrize("number", LEGENDS)
def test_legends_have_the_papers_words(number, wide):
    (legend,) = composed(*wide, f"fig{number:02d}").figure.findobj(match=lambda a: type(a).__name__ == "Legend")
    words = [t.get_text().partition(":   ")[0] for t in legend.get_texts() if t.get_text()]
    assert sorted(words) == sorted(LEGENDS[number])


@pytest.mark.parametrize("number", LABELS)
def test_axes_have_the_papers_words(number, wide):
    axes = composed(*wide, f"fig{number:02d}").axes
    named = [(" ".join(ax.get_xlabel().split()), " ".join(ax.get_ylabel().split())) for ax in axes]
    assert named == LABELS[number]


def test_a_list_in_a_legend_is_not_broken(small, wide):
    for grid in (small, wide):
        sheet = composed(*grid, "fig13")
        (legend,) = sheet.figure.findobj(match=lambda a: type(a).__name__ == "Legend")
        places = {t.get_text(): t.get_window_extent() for t in legend.get_texts()}
        row = [places[word] for word in ("Random Params per Channel: 2", "4", "8", "16")]
        assert len({round(box.y1) for box in row}) == 1
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(row))


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
    assert y_limits(points(0.2, 8), (0, 45), paper_data=False) == (0, pytest.approx(9.2, abs=0.1))
    assert y_limits(points(-6, -4), (-8, 0), paper_data=False)[1] == y_limits(points(-6, -4), (-8, 0), True)[1] == 0
    assert y_limits(points(-6, 1), (-8, 0), paper_data=True)[1] > 1.5


def test_chance_is_one_or_five_over_the_number_of_classes(small, wide):
    def levels(sheet):
        lines = [line for ax in sheet.axes for line in ax.lines]
        return [line.get_ydata()[0] for line in lines if line.get_color() == style.CHANCE]

    assert levels(composed(*wide, "fig02")) == pytest.approx([10, 10, 0.1, 0.5])
    assert levels(composed(*small, "fig02")) == pytest.approx([10, 10, 10, 50])


def test_figure_3_has_the_papers_axis(wide):
    ax = composed(*wide, "fig03").axes[0]
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert shown == ["1", "2", "4", "8", "16", "32", "64"]
    assert ax.get_ylim() == (45, 85)


@pytest.mark.parametrize("name", [n for n in FIGURES if n not in ("fig01", "fig08", "fig13")])
def test_a_figure_says_how_many_runs_diverged(small, name):
    root, grid = small
    ask = asked(grid, name)
    shown = {key[:2] for key in ask.cells()}
    sick = shown & {("ResNet-20", "bn"), ("ResNet-14", "all")}
    sheet = composed(root, grid, name)
    said = texts(sheet)
    marks = [t for t in said if t.removeprefix("× ") == "1/2"]
    assert len(marks) == sum(place in sick for p in ask.panels for place in {key[:2] for key, _ in p.keys()})
    assert any(f"({len(sick)} of " in t for t in said) == bool(sick)
    frame = sheet.numbers
    frame = frame[frame["quantity"] != "regression"]
    counted = frame[frame["diverged"] > 0].drop_duplicates(["panel", "architecture", "regime"])
    assert len(counted) == len(marks)


def test_a_figure_of_other_data_says_so_and_claims_nothing(small, wide):
    for name in KINDS:
        said = texts(composed(*small, name))
        assert any("handwritten digits instead of CIFAR-10" in " ".join(t.split()) for t in said)
        for text in said:
            if "CIFAR-10" in text or "ImageNet" in text:
                assert "handwritten digits" in " ".join(text.split()) or text.startswith("ImageNet-ResNet-"), text
        (mark,) = composed(*wide, name).warnings
        assert re.fullmatch(r"Not the paper's figure: [^;]*1 of [35] seeds(; .*1 of [35] seeds)?\.", mark)


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
    ask = dataclasses.replace(ask, labels={**ask.labels, "all": ask.labels["all"] + longer})
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


def contrast(color: str, ground: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, 1 to 21."""
    light, dark = sorted((((luminance(c) + 16) / 116) ** 3 for c in (color, ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_every_colour_stands_out_from_its_ground(small, name):
    """Lines, markers, outlines and type; an area has an outline, a grid line is no information."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.patches import StepPatch

    sheet = composed(*small, name)
    found: set[tuple[str, str]] = set()
    for ax in sheet.axes:
        areas = [p for p in ax.patches if isinstance(p, StepPatch)]
        filled = {to_hex(p.get_facecolor()) for p in areas if p.get_fill() and p.get_facecolor()[3]}
        for line in [child for child in ax.get_children() if isinstance(child, Line2D)]:
            found.add((to_hex(line.get_color()), "#ffffff"))
        for lines in [child for child in ax.get_children() if isinstance(child, LineCollection)]:
            found |= {(to_hex(c), "#ffffff") for c in lines.get_colors()}
        for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]:
            found.add((to_hex(text.get_color()), "#ffffff"))
        found |= {(to_hex(p.get_edgecolor()), ground) for p in areas for ground in {"#ffffff", *filled}}
    found |= {(to_hex(text.get_color()), "#ffffff") for text in sheet.figure.texts}
    assert found
    assert {(a, b): round(contrast(a, b), 2) for a, b in found if contrast(a, b) < 3} == {}


def test_every_style_stands_out_from_the_page():
    for one in [*style.REGIMES.values(), *style.GROWTH.values(), *style._OTHERS]:
        assert contrast(one.color, "#ffffff") >= 3, one


def test_a_few_points_outside_the_papers_axis_are_arrows_with_their_value(tmp_path):
    grid = synthetic.paper_grid()
    low = {("ResNet-866", "all", seed): 0.1 for seed in range(5)}
    synthetic.write(tmp_path, grid, ["fig01"], diverged=low)
    with render.look():
        sheet = render.compose(asked(grid, "fig01"), tmp_path)
    assert sheet.axes[0].get_ylim() == sheet.axes[1].get_ylim() == (89, 96)
    assert {"10.0", "5/5"} <= {t.get_text() for t in sheet.axes[0].texts}
    assert any("outside its axis" in note for note in sheet.notes)
    assert sheet.warnings == []


def test_no_axis_of_accuracies_goes_beyond_100():
    points = pd.DataFrame({"mean": [99.0, 20.0], "sd": [5.0, 30.0], "n": [2, 2]})
    assert y_limits(points, (89, 96), paper_data=True)[1] == 100


def test_the_foot_says_what_error_bars_are_and_how_many_runs_a_point_has(small, tmp_path):
    assert "Mean ± one standard deviation of 2 runs." in composed(*small, "fig02").notes
    assert "Each distribution pools the channels of 2 runs." in composed(*small, "fig15").notes
    grid = synthetic.paper_grid()
    synthetic.write(tmp_path, grid, ["fig01"])
    with render.look():
        sheet = render.compose(asked(grid, "fig01"), tmp_path)
    said = "5 runs (CIFAR-10 ResNet and CIFAR-10 WRN) and 3 runs (ImageNet ResNet)"
    assert f"Mean ± one standard deviation of {said}." in sheet.notes


def test_equal_points_of_two_regimes_are_both_seen(small):
    ax = composed(*small, "fig06").axes[0]
    places = [tuple(line.get_xdata()) for line in ax.lines if line.get_marker() in ("o", "s", "^")]
    assert len(set(places)) == len(places) == 6


@pytest.mark.parametrize(("name", "ends"), [("fig15", (-1.5, 2.5)), ("fig16", (-1.5, 2.5)), ("fig19", (-0.5, 2.0))])
def test_histograms_of_the_papers_data_have_its_axis(wide, name, ends):
    low, high = composed(*wide, name).axes[0].get_xlim()
    assert low == pytest.approx(ends[0], abs=0.05) and high == pytest.approx(ends[1], abs=0.05)


def test_bins_of_shares_end_at_round_numbers(small):
    edges = composed(*small, "fig23").numbers["left"].unique()
    assert {f"{edge!r}" for edge in edges.tolist()} == {f"{i / 20!r}" for i in range(20)}


def test_unknown_regimes_get_styles_of_their_own():
    names = ["bn", "bn_binary", "mine", "yours"]
    styles = style.of_regimes(names)
    assert len(set(styles.values())) == len(names)
    assert styles["bn"] == style.REGIMES["bn"]
    assert style.of_regimes(["mine"])["mine"] == style.of_regimes(["all", "mine"])["mine"]
