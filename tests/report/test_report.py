"""The report: what it says, that it is one file, and that it works in a real Chromium, opened from the disk."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from pathlib import Path

import pytest
from tests.figures import synthetic
from tests.report import browser

from bnonly import paths
from bnonly.console import duration
from bnonly.figures import outputs
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid, load_grid, resolve
from bnonly.networks.counts import write_counts
from bnonly.paper import catalog
from bnonly.report.write import report

ROOT = Path(__file__).resolve().parents[2]
DRAWN = ["fig02", "fig03", "fig15"]


def small(**changes) -> Grid:
    return resolve({**synthetic.small_config(), **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The report of a small run on other data: results of three figures, one run diverged."""
    root, found = tmp_path_factory.mktemp("report"), small(title="demo <run> & more")
    synthetic.write(root, found, DRAWN, diverged={("ResNet-14", "bn", 1): 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_counts(outputs.architectures(found))
        for name in [*DRAWN, "table1"]:
            outputs.render(outputs.ask(found, name))
    return root / report(found, load_grid(ROOT / "config.yaml"), root=root).relative_to(root)


@pytest.fixture(scope="module")
def text(made) -> str:
    return made.read_text(encoding="utf-8")


def words(page: str) -> str:
    """The page as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def test_the_summary_and_the_deviations_come_first(text):
    seen = words(text)
    places = [seen.index(t) for t in ("cannot reproduce the paper’s numbers", "claims say which is more", "Deviations from", "Data. Everything trained on handwritten digits", "R001")]  # fmt: skip
    assert places == sorted(places)
    for said in ("epochs 4 instead of 160", "2 instead of 5", "Networks. Not the paper’s, but ResNet-8"):
        assert said in seen.replace("Epochs", "epochs"), said


def test_every_claim_figure_and_table_has_its_place(text):
    ids = set(re.findall(r' id="([^"]+)"', text))
    assert {c.id for c in catalog.load().claims} <= ids
    assert set(outputs.names()) <= ids
    assert len(re.findall(r"<img ", text)) == len(DRAWN) and text.count("Not drawn. Draw it with") == 22
    assert all(alt.strip() for alt in re.findall(r'<img [^>]*alt="([^"]*)"', text, re.DOTALL))


def test_every_link_leads_somewhere_in_the_file(text):
    ids = set(re.findall(r' id="([^"]+)"', text))
    links = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert links and {k for k in links if not k.startswith(("#", "data:"))} == set()
    assert {k[1:] for k in links if k.startswith("#")} <= ids


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
    report(small(title="demo <run> & more"), load_grid(ROOT / "config.yaml"), root=made.parent)
    assert made.read_bytes() == before


def test_a_report_without_results_is_a_report(tmp_path):
    paper = load_grid(ROOT / "config.yaml")
    page = report(paper, paper, root=tmp_path).read_text(encoding="utf-8")
    seen = words(page)
    assert "Nothing has been trained yet: 124 claims wait for results" in seen
    assert "Missing. 1,220 of the 1,220 trainings behind the figures and tables are not there" in seen
    assert "163 of 163 claims about parameter counts" in seen and "<img " not in page
    assert re.search(r"5 runs: ResNet-110/bn \(0, 1, 2, 3, 4\); about [\d.,]+ \w+ on one A100-80", seen)
    assert "The whole paper (Figures 1 to 25): 1,220 trainings, 6.9 × 10²⁰ FLOPs" in seen


def test_a_run_with_the_papers_data_says_how_much_holds(tmp_path):
    paper = load_grid(ROOT / "config.yaml")
    synthetic.write(tmp_path, paper, ["fig09"])
    seen = words(report(paper, paper, root=tmp_path).read_text(encoding="utf-8"))
    assert re.search(r"\d+ of the \d+ claims that were run hold", seen)
    assert "Trained with the fast engine in bf16" in seen


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
    assert done.stdout.strip() == "report.html" and (tmp_path / "report.html").stat().st_size > 100_000
    done = bnonly("-C", tmp_path, "claims")
    assert done.returncode == 0 and "0 of the 0 claims about training that were run hold" in done.stdout


def test_a_mistake_is_one_line(bnonly, tmp_path):
    (tmp_path / "mine.yaml").write_text("claims: {X1: {page: 1, section: A, says: b, value: c, tests: [{rule: most}]}}")
    for command in ("claims", "report"):
        done = bnonly("-C", tmp_path, command, "--file", tmp_path / "mine.yaml")
        assert done.returncode == 2 and done.stdout == ""
        assert re.fullmatch(r"bnonly: error: \S*mine.yaml: X1: rule is 'most'; [^\n]*\n", done.stderr)


# In a browser.


@pytest.fixture(scope="module")
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


VISIBLE = "[...document.querySelectorAll('table.claims > tbody > tr')].filter(r => r.offsetHeight).length"
APPLY = "new Promise(done => setTimeout(done, 250))"


def set_filter(page, name: str, value: str) -> int:
    script = f"(() => {{ const f = document.forms[0].elements['{name}']; f.value = '{value}'; f.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    page.run(script)
    page.run(APPLY)
    return page.run(VISIBLE)


def test_nothing_leaves_the_page_and_nothing_goes_wrong(opened, made):
    opened.run(APPLY)
    assert opened.requests == [made.resolve().as_uri()] and opened.errors == []


def test_every_image_loads(opened):
    images = opened.run("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(images) == len(DRAWN) and all(width > 500 for width in images)


def test_filters(opened):
    assert opened.run(VISIBLE) == 336
    assert set_filter(opened, "verdict", "paper-inconsistent") == 12
    assert opened.run("document.getElementById('shown').textContent") == "12 of 336 claims"
    assert set_filter(opened, "kind", "count") == 8
    assert set_filter(opened, "words", "resnet-110 0.38") == 1
    opened.run("document.querySelector('button[type=reset]').click()")
    opened.run(APPLY)
    assert opened.run(VISIBLE) == 336
    assert set_filter(opened, "section", "Abstract") == 4
    assert set_filter(opened, "section", "") == 336
    of_figure = sum("fig03" in c.figures for c in catalog.load().claims)
    assert set_filter(opened, "figure", "fig03") == of_figure > 10
    assert set_filter(opened, "words", "no such words") == 0


def test_a_tile_filters(opened):
    opened.run("document.querySelector('a.tile[data-verdict=not-to-be-rerun]').click()")
    opened.run(APPLY)
    assert opened.run(VISIBLE) == 3
    assert opened.run("document.forms[0].elements.verdict.value") == "not-to-be-rerun"


def test_a_link_to_a_claim_shows_it_although_it_is_filtered_away(opened):
    set_filter(opened, "verdict", "not-to-be-rerun")
    opened.run(
        "document.querySelector('#fig02 details').open = true; document.querySelector('#fig02 a[href=\"#R001\"]').click()"
    )
    opened.run(APPLY)
    assert opened.run(
        "document.getElementById('R001').offsetHeight > 0 && document.querySelector('#R001 details').open"
    )


def test_a_link_to_a_cell_opens_the_table_of_cells(opened):
    opened.run(
        "document.querySelector('#R003 details').open = true; document.querySelector('#R003 a[href=\"#cell-ResNet-8-bn\"]').click()"
    )
    opened.run(APPLY)
    assert opened.run("document.getElementById('cell-ResNet-8-bn').offsetHeight > 0")


def test_without_scripts_the_whole_table_is_there(page, made):
    page.view(1280, 900, script=False)
    page.open(made)
    page.view(1280, 900)  # to ask questions
    assert (
        page.run("[...document.querySelectorAll('table.claims > tbody > tr')].filter(r => r.offsetHeight).length")
        == 336
    )
    assert page.run("getComputedStyle(document.getElementById('filters')).display") == "none"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(page, made, width, dark):
    page.view(width, 800, dark)
    page.open(made)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = node => { for (; node; node = node.parentElement) { const c = parse(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const low = [];
  for (const node of document.querySelectorAll('p, a, td, th, li, dd, dt, h1, h2, h3, caption, summary, label, span, button, select, input, small, em')) {
    if (!node.textContent.trim() || !node.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(low)];
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(page, made, dark):
    page.view(1280, 900, dark)
    page.open(made)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run(CONTRAST) == []
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark


def test_structure_for_a_screen_reader(opened):
    assert opened.run("document.documentElement.lang") == "en"
    assert (
        opened.run("['header', 'nav', 'main', 'footer', 'h1'].map(t => document.querySelectorAll(t).length)") == [1] * 5
    )
    levels = opened.run("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    unnamed = "[...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.textContent.trim()).length"
    assert opened.run(unnamed) == 0
    assert opened.run("[...document.querySelectorAll('th')].every(h => h.scope)")
    assert opened.run(
        "[...document.querySelectorAll('#filters input, #filters select')].every(f => f.closest('label'))"
    )
    tree = opened.send("Accessibility.getFullAXTree")["nodes"]
    roles = {n["role"]["value"] for n in tree if not n["ignored"]}
    assert {"banner", "navigation", "main", "contentinfo", "search", "status", "table", "image"} <= roles
    unnamed_controls = [n for n in tree if not n["ignored"] and n["role"]["value"] in ("link", "button", "combobox", "searchbox", "image") and not n.get("name", {}).get("value")]  # fmt: skip
    assert unnamed_controls == []


def test_the_keyboard_reaches_the_filters_and_focus_is_seen(opened):
    opened.run("document.querySelector('nav a').focus()")
    names = []
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            opened.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        names.append(opened.run("document.activeElement.name || document.activeElement.tagName"))
        assert opened.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
        if names[-1] == "figure":
            break
    assert {"words", "verdict", "kind", "section", "figure"} <= set(names)


def test_it_prints(opened):
    pdf = base64.b64decode(opened.send("Page.printToPDF", printBackground=True)["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF") and 10 < pages < 60
    opened.view(800, 1000, media="print")
    assert opened.run(
        "[...document.querySelectorAll('nav, #filters')].every(n => getComputedStyle(n).display === 'none')"
    )
    assert opened.run("getComputedStyle(document.querySelector('table.claims')).display") == "table"
    opened.view(1280, 900)


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
