"""The report in a real Chromium, opened from the disk."""

from __future__ import annotations

import base64
import re

import pytest
from tests.report.runs import DRAWN, decision

from bnonly.paper import catalog
from bnonly.report import claims, parity

VISIBLE = "[...document.querySelectorAll('table.claims > tbody')].filter(r => r.checkVisibility({contentVisibilityAuto: true}) && r.offsetHeight).length"
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
    total = len(catalog.load().claims)
    assert opened.run(VISIBLE) == 0  # closed until a reader asks
    inconsistent = [c for c in catalog.load().claims if c.inconsistent]
    assert set_filter(opened, "verdict", "paper-inconsistent") == len(inconsistent) > 5
    assert opened.run("document.getElementById('shown').textContent") == f"{len(inconsistent)} of {total} claims"
    assert set_filter(opened, "kind", "count") == sum(c.kind == "count" for c in inconsistent)
    assert set_filter(opened, "words", "resnet-110 0.38") == 1
    opened.run("document.querySelector('button[type=reset]').click()")
    opened.run(APPLY)
    assert opened.run(VISIBLE) == 0
    assert opened.run("document.getElementById('shown').textContent") == f"{total} of {total} claims"
    of_abstract = sum(c.section.partition(",")[0] == "Abstract" for c in catalog.load().claims)
    assert set_filter(opened, "section", "Abstract") == of_abstract > 1
    assert set_filter(opened, "section", "") == 0
    of_figure = sum("fig03" in c.figures for c in catalog.load().claims)
    assert set_filter(opened, "figure", "fig03") == of_figure > 10
    assert set_filter(opened, "words", "no such words") == 0


def test_a_tile_filters(opened):
    opened.run("document.querySelector('a.tile[data-verdict=not-to-be-rerun]').click()")
    opened.run(APPLY)
    assert opened.run(VISIBLE) == sum(c.kind == "external" for c in catalog.load().claims) > 0
    assert opened.run("document.forms[0].elements.verdict.value") == "not-to-be-rerun"


def test_a_link_to_a_claim_shows_it_although_it_is_filtered_away(opened):
    set_filter(opened, "verdict", "not-to-be-rerun")
    opened.run(
        "document.querySelector('#fig02 .about').open = true; document.querySelector('#fig02 a[href=\"#R001\"]').click()"
    )
    opened.run(APPLY)
    assert opened.run(
        "document.getElementById('R001').offsetHeight > 0 && document.querySelector('#R001 details').open"
    )


def test_a_link_to_a_figure_opens_it(page, made):
    page.view(1280, 900)
    page.open(made, "#fig15")
    page.run(APPLY)
    assert page.run("document.querySelector('#fig15 img').offsetHeight") > 100


def test_a_link_to_a_cell_opens_the_table_of_cells(opened):
    opened.run(
        "document.querySelector('#claims-result').open = document.querySelector('#R003 details').open = true; document.querySelector('#R003 a[href=\"#cell-ResNet-8-bn\"]').click()"
    )
    opened.run(APPLY)
    assert opened.run("document.getElementById('cell-ResNet-8-bn').offsetHeight > 0")


def test_without_scripts_everything_can_be_opened(page, made):
    page.view(1280, 900, script=False)
    page.open(made)
    page.view(1280, 900)  # to ask questions
    assert page.run("getComputedStyle(document.getElementById('filters')).display") == "none"
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.run(APPLY)
    assert page.run(VISIBLE) == len(catalog.load().claims)
    curves = page.run("[...document.querySelectorAll('#cells svg.curve use:nth-of-type(2)')].map(u => u.getBBox().width)")  # fmt: skip
    assert len(curves) > 20 and min(curves) > 50


#: Pixels before anything was opened, when every claim was open: 1,280 and 390 wide.
BEFORE = {1280: 47_468, 390: 97_890}


@pytest.mark.parametrize("width", BEFORE)
@pytest.mark.parametrize("which", ["made", "papers"])
def test_it_is_short_before_anything_is_opened(page, request, which, width):
    page.view(width, 900)
    page.open(request.getfixturevalue(which))
    assert page.run("document.documentElement.scrollHeight") <= BEFORE[width] / 5


@pytest.mark.parametrize("width", [390, 1280])
def test_the_order_is_a_readers(page, papers, width):
    page.view(width, 900)
    page.open(papers)
    order = "h1 #summary #differences #fig02 #fig03 #parity svg.parity #curves #figures #claims #cells #cost".split()
    tops = page.run(f"{order}.map(s => document.querySelector(s).getBoundingClientRect().top)")
    assert tops == sorted(tops) and len(set(tops)) == len(tops)


def test_the_parity_plot_has_a_mark_for_each_claim_with_a_number(page, papers, decisions):
    page.view(1280, 900)
    page.open(papers)
    numbers = [d for d in decisions if d.claim.counted and d.evidence and claims.compare(d)]
    marks = page.run("[...document.querySelectorAll('svg.parity')[0].querySelectorAll('g')].map(g => { const b = g.getBBox(); return [b.x, b.y, b.width]; })")  # fmt: skip
    assert len(marks) == len(numbers) > 10
    assert all(0 < x < 360 and -5 < y < 330 for x, y, _ in marks)
    # Ours equal to the paper's lies on the diagonal.
    twice = decision("equals", 50, 50.0)
    (panel, *_) = parity.overview([twice])["panels"]
    dot, box = panel["dots"][0], panel["box"]
    assert dot["x"] - box["x"] == pytest.approx(box["side"] - (dot["y"] - box["y"]), abs=0.2)


def test_no_evidence_is_cut_off(page, papers):
    for width in (390, 1280):
        page.view(width, 900)
        page.open(papers)
        page.run("document.querySelectorAll('#claims details').forEach(d => d.open = true)")
        assert page.run("[...document.querySelectorAll('#claims .scroll')].filter(s => s.scrollWidth > s.clientWidth + 1).length") == 0  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(page, papers, width, dark):
    page.view(width, 800, dark)
    page.open(papers)
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
def test_text_stands_out(page, papers, dark):
    page.view(1280, 900, dark)
    page.open(papers)
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
    for _ in range(90):
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
    # Paper cannot be opened: figures and claims are printed although they are closed on the screen.
    assert opened.run("document.querySelector('#fig15 img').offsetHeight") > 100
    assert opened.run(VISIBLE) == len(catalog.load().claims)
    opened.view(1280, 900)
