"""The report: what it says, and that it is one file."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
import shutil

import pytest
from tests.figures import synthetic
from tests.report.runs import DRAWN, PAPER, decision, small

from bnonly import paths
from bnonly.console import duration, slug
from bnonly.figures import outputs
from bnonly.figures.catalog import BEYOND, FIGURES
from bnonly.grid.cell import Key
from bnonly.paper import catalog
from bnonly.report import cells, claims
from bnonly.report.write import report


def words(page: str) -> str:
    """The page as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def test_the_verdict_and_the_differences_come_first(text):
    seen = words(text)
    places = [seen.index(t) for t in ("On handwritten digits,", "cannot reproduce the paper’s numbers", "How this run differs from the paper", "handwritten digits instead of CIFAR-10", "Main results, beside", "R001")]  # fmt: skip
    assert places == sorted(places)
    for said in (
        "4 of 160 epochs",
        "2 of 5 seeds",
        "With two seeds, a 95 % interval reaches 12.7 standard errors",
        "networks that are not the paper’s: ResNet-8",
    ):
        assert said in seen, said


def test_every_claim_figure_and_table_has_its_place(text):
    ids = set(re.findall(r' id="([^"]+)"', text))
    assert {c.id for c in catalog.load().claims} <= ids
    assert {slug(name) for name in outputs.names()} <= ids
    assert len(re.findall(r"<img ", text)) == len(DRAWN) and text.count("Not drawn. Draw it with") == len(
        FIGURES.names()
    ) + len(BEYOND.names()) - len(DRAWN)
    assert all(alt.strip() for alt in re.findall(r'<img [^>]*alt="([^"]*)"', text, re.DOTALL))


def test_every_link_leads_somewhere_in_the_file_or_to_a_cell(text, made):
    ids = set(re.findall(r' id="([^"]+)"', text))
    links = {k for k in re.findall(r'(?:href|src)="([^"]*)"', text) if not k.startswith("data:")}
    assert {k[1:] for k in links if k.startswith("#")} <= ids
    folders = {k for k in links if not k.startswith("#")}
    assert "results/ResNet-14/bn/seed1/" in folders
    assert all((made.parent / folder / "metrics.parquet").is_file() for folder in folders)


def test_learning_curves_of_every_cell_are_drawn_from_data_that_are_there_once(text):
    drawn = re.findall(r'<g id="curve-([^"]+)">', text)
    assert len(drawn) == len(set(drawn)) and {"ResNet-14-bn", "ResNet-8-all"} <= set(drawn)
    for name in drawn:
        assert text.count(f'<use href="#curve-{name}">') == (2 if name.startswith(("ResNet-14-", "ImageNet-ResNet-18-")) else 1)  # fmt: skip
    assert "ResNet-14/bn, test accuracy:" in text and "mean of 2 runs" in text


def test_ids_are_unique(text):
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_text_is_escaped_and_only_our_style_and_script_run(text):
    assert "demo <run>" not in text and "demo &lt;run&gt; &amp; more" in text
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" in policy
    assert not re.search(r"<[^>]* (style|on\w+)=", text)


def test_divergence_is_told(text):
    assert "ResNet-14/bn/seed1 diverged: loss is not finite" in words(text)


def test_the_same_results_make_the_same_file(made):
    before = made.read_bytes()
    report(small(title="demo <run> & more"), PAPER, root=made.parent)
    assert made.read_bytes() == before


def test_a_report_without_results_is_a_report(tmp_path):
    page = report(PAPER, PAPER, root=tmp_path).read_text(encoding="utf-8")
    seen = words(page)
    counted = sum(c.counted for c in catalog.load().claims)
    assert f"Nothing has been trained yet: {counted} claims wait for results" in seen
    assert "1,220 of the 1,220 trainings behind the figures and tables" in seen
    assert (
        "163 of 163 claims about parameter counts" in seen
        and "Nothing has been trained yet." in seen
        and "<img " not in page
    )
    assert re.search(r"5 runs: ResNet-110/bn \(0, 1, 2, 3, 4\); about [\d.,]+ \w+ on one A100-80", seen)
    assert "The whole paper (Figures 1 to 25): 1,220 trainings, 6.9 × 10²⁰ FLOPs" in seen


def test_a_run_with_the_papers_data_says_how_much_holds(papers):
    seen = words(papers.read_text(encoding="utf-8"))
    assert re.search(r"\d+ of the \d+ claims that were run hold", seen)
    assert "fast engine, bf16; the paper’s framework trained in fp32 by default" in seen
    assert re.search(r"\d+ values that the paper states for Figure 2", seen)
    # The paper's number, ours with its interval, the difference.
    assert re.search(r"R028 ResNet-110, training only BatchNorm, reaches 69.5 % 69.5 % [\d.]+ \[[\d.]+, [\d.]+\], n = 5 [−+][\d.]+", seen)  # fmt: skip
    assert "The 10 largest differences" in seen


def test_gpus_without_bf16_get_no_hours(papers):
    rows = re.findall(r'<tr><th scope="row">(v100|t4|a100-80)</th>(.*?)</tr>', papers.read_text(encoding="utf-8"))
    said = {name: words(cells) for name, cells in rows}
    assert said["v100"] == "bf16 – – this GPU has no bf16" == said["t4"]
    assert re.match(r"bf16 [\d.,]+ [\d.,]+ kWh", said["a100-80"])


def test_a_claim_is_compared_by_the_number_that_is_farthest_off():
    found = claims.compare(decision("equals", 80, 79, 84, 81, half=2))
    assert found and (found.ours, found.difference, found.tolerances, found.low) == (84, 4, 2, 83)
    assert claims.signed(found.difference) == "+4" and claims.signed(-0.12345) == "−0.123"


@pytest.mark.parametrize(
    "made_of",
    [decision("at_least", 80, 79), decision("equals", 80), decision("equals", 80, 1, 2, 3, tests=2), decision("equals", 80, math.nan)],
)  # fmt: skip
def test_a_claim_without_a_number_of_its_own_is_not_compared(made_of):
    assert claims.compare(made_of) is None


def test_claims_are_sorted_by_the_difference(papers, decisions):
    (table,) = re.findall(r'<details class="kind print" id="claims-result".*?</table>\s*</details>', papers.read_text(encoding="utf-8"), re.DOTALL)  # fmt: skip
    ids = re.findall(r'<tbody id="([^"]+)"', table)
    sizes = {d.claim.id: (c.tolerances if (c := claims.compare(d)) else -1.0) for d in decisions}
    found = [sizes[i] for i in ids]
    assert found == sorted(found, reverse=True) and found[0] > 1


def test_bytes_stored_are_those_of_the_files(tmp_path):
    found = small()
    for regime, count in (("all", 6_000), ("bn", 1_500)):
        for seed, more in ((0, 0), (1, 1_000)):
            path = tmp_path / paths.weights(Key("ResNet-8", regime, seed).folder)
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(count + more))
    assert cells.stored(found, tmp_path)["rows"] == [["ResNet-8", "6 kB", "2 kB", "–", "3.2"]]


def test_damaged_files_are_told(tmp_path):
    found = small()
    path = tmp_path / paths.metrics(Key("ResNet-8", "bn", 0).folder)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1")
    assert "damaged or half-written" in words(report(found, root=tmp_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("seconds", "said"), [(12.3, "12 s"), (600, "10 min"), (7200, "2.0 h"), (864_000, "10.0 days")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_the_command_needs_no_results(bnonly, tmp_path):
    done = bnonly("-C", tmp_path, "report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().split("/")[-1] == "report.html" and (tmp_path / "report.html").stat().st_size > 100_000
    done = bnonly("-C", tmp_path, "claims")
    assert done.returncode == 0 and re.search(
        r"No claim about training has a verdict yet\. Of all \d+ claims, \d+ hold without training, \d+ wait for training",
        done.stdout,
    )


def test_a_mistake_is_one_line(bnonly, tmp_path):
    (tmp_path / "mine.yaml").write_text("claims: {X1: {page: 1, section: A, says: b, value: c, tests: [{rule: most}]}}")
    for command in ("claims", "report"):
        done = bnonly("-C", tmp_path, command, "--file", tmp_path / "mine.yaml")
        assert done.returncode == 2 and done.stdout == ""
        assert re.fullmatch(r"bnonly: error: \S*mine.yaml: X1: unknown rule 'most'; [^\n]*\n", done.stderr)


def test_figures_of_another_configuration_or_changed_since_are_not_shown(made, tmp_path):
    root, grid = tmp_path / "run", small(title="demo <run> & more")
    shutil.copytree(made.parent, root)
    (root / paths.figure(DRAWN[0], "png")).write_bytes(b"\x89PNG garbage")
    numbers = root / paths.figure(DRAWN[1], "csv")
    numbers.write_text(numbers.read_text().replace("1", "9"))
    (root / paths.table("table1", "md")).write_text("| 7 |\n")
    page = report(grid, root=root).read_text(encoding="utf-8")
    assert page.count("<img ") == len(DRAWN) - 2 and page.count("was changed after it was made. ") == 3
    faster = {name: {**recipe, "lr": 0.3} for name, recipe in synthetic.small_config()["recipes"].items()}
    page = report(small(title="demo <run> & more", recipes=faster), root=root).read_text(encoding="utf-8")
    assert "<img " not in page
    assert page.count("was made from other results, or by other code. Draw it with") == len(DRAWN)
