"""The paper's claims: all of them, about cells that exist, decided without results, and written as files."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.figures import synthetic

from bnonly import paths
from bnonly.figures import outputs
from bnonly.grid.resolve import Grid, load_grid, resolve
from bnonly.paper import catalog, reader, vocabulary
from bnonly.paper import deviations as own
from bnonly.verdicts import judge, table, verdict

ROOT = Path(__file__).resolve().parents[2]
SHARED = next((p / "shared/paper/claims.csv" for p in ROOT.parents if (p / "shared/paper/claims.csv").exists()), None)
needs_shared = pytest.mark.skipif(SHARED is None, reason="the shared list of claims is not on this machine")
#: How many claims there are: of the text, and of tables.
STATEMENTS, CELLS = 190, 146
#: Not a statement of the paper: it only names the figures of Appendix H.
NONE = "R168"
#: The paper normalises images per pixel, this project per channel.
NOT_FOLLOWED = "R187"
#: The statements that the paper's own numbers contradict.
ERRATA = {
    "R012",
    "R050",
    "R053",
    "R059",
    "R112",
    "R149",
    "R157",
    "R161",
    "R162",
    "R177",
    "R188",
    "T009",
    "T017",
    "T097",
}


@pytest.fixture(scope="module")
def paper() -> Grid:
    return load_grid(ROOT / "config.yaml")


@pytest.fixture(scope="module")
def nothing(paper, tmp_path_factory):
    """The verdicts on a folder without results."""
    return judge.judge(paper, root=tmp_path_factory.mktemp("nothing"))[1]


@needs_shared
def test_every_claim_of_the_shared_list_is_there():
    rows = list(csv.DictReader(SHARED.open(encoding="utf-8")))
    claims = {c.id: c for c in catalog.load().claims}
    rows = [r for r in rows if r["id"] != NONE]
    assert [r["id"] for r in rows] == [i for i in claims if not "R180" <= i <= "R199"]
    paged = [r for r in rows if r["page"].isdigit()]
    assert [r["page"] for r in paged] == [str(claims[r["id"]].page) for r in paged]
    for row in rows:
        if row["id"].startswith("T"):
            assert claims[row["id"]].value.removesuffix(" %") == row["value"], row["id"]
        elif re.fullmatch(r"[\d.]+", row["value"]) and row["comparison"] == "=" and row["unit"] == "%":
            assert row["value"] in claims[row["id"]].value, row["id"]


def test_ids_are_whole():
    ids = [c.id for c in catalog.load().claims]
    stated = [f"R{i:03d}" for i in range(1, STATEMENTS + 2)]
    assert ids == [i for i in stated if i != NONE] + [f"T{i:03d}" for i in range(1, CELLS + 1)]


def test_what_is_said_twice_is_counted_once():
    by_id = {c.id: c for c in catalog.load().claims}
    repeats = {c.id: c.same_as for c in by_id.values() if c.same_as}
    assert repeats == {"R010": "R001", "R033": "R001", "R011": "R002", "R036": "R002"}
    for repeat, first in repeats.items():
        assert by_id[repeat].tests == by_id[first].tests and by_id[first].counted and not by_id[repeat].counted


def test_what_no_training_can_refute_is_not_counted():
    kinds = {c.id: c.kind for c in catalog.load().claims if c.kind in vocabulary.NAMED_KINDS}
    axes = {i for i, kind in kinds.items() if kind == "axis"}
    assert axes == {"R007", "R008", "R084", "R085", "R093", "R128", "R172", "R173", "R174"}
    assert set(kinds) - axes == {"R025", "R118", "R188"}
    assert not any(c.counted for c in catalog.load().claims if c.id in kinds)


def test_the_papers_experiments_are_those_of_the_configuration(paper):
    for name, experiment in catalog.load().experiments.items():
        mine = paper.experiments[name]
        assert (mine.data.name, len(mine.seeds)) == (experiment.dataset, experiment.seeds)
        assert list(mine.architectures) == list(experiment.architectures)
        for a, spec in experiment.architectures.items():
            found = paper.cell(a, mine.regimes[0], 0).architecture
            assert (found.family, found.depth, found.channels) == (spec.family, spec.depth, spec.channels)


def test_regimes_are_those_of_the_paper():
    assert set(vocabulary.REGIMES) == {k[1] for k in own.paper().cells}


def test_without_results_every_result_is_missing(paper, nothing):
    found = table.count(nothing, ["result"])
    assert found[verdict.NOT_RUN] + found[verdict.INCONSISTENT] == sum(found.values()) == 128
    for decision in nothing:
        if decision.claim.kind in ("result", "axis"):
            assert decision.missing and not decision.cells
            assert set(decision.missing) <= set(paper.cells), decision.claim.id
            # Everything that is missing is trained for a figure that the claim names, or is on request.
            shown = {key for f in decision.claim.figures for key in outputs.ask(paper, f).cells()}
            assert set(decision.missing) <= shown, decision.claim.id


def test_counts_hold_but_for_the_errata(nothing):
    counts = {d.claim.id: d for d in nothing if d.claim.kind == "count"}
    assert {i for i, d in counts.items() if d.verdict != verdict.HOLDS} == ERRATA & set(counts)
    # What is called inconsistent is refuted by the exact counts, not only said to be.
    refuted = [d for i, d in counts.items() if i in ERRATA]
    assert all("does not hold" in d.finding for d in refuted)
    assert {d.claim.id for d in nothing if d.verdict == verdict.INCONSISTENT} == ERRATA


def test_settings_are_those_of_the_configuration(nothing):
    settings = [d for d in nothing if d.claim.kind == "setting"]
    assert len(settings) == 21
    assert {d.claim.id for d in settings if d.finding != "the configuration follows it"} == {NOT_FOLLOWED}
    assert {d.verdict for d in settings} == {verdict.NOT_RUN}


def test_every_rule_and_reduction_is_used():
    tests = [t for c in catalog.load().claims for t in c.tests]
    assert {t.rule for t in tests} == set(vocabulary.RULES)
    assert {t.reduce for t in tests} == set(vocabulary.REDUCTIONS)
    metrics = {t.metric for t in tests if t.metric} | {t.over.metric for t in tests if t.over}
    assert metrics == set(vocabulary.RUN_METRICS) | set(vocabulary.COUNT_METRICS)


def test_orderings_name_no_network_of_the_paper():
    orderings = [c.id for c in catalog.load().claims if c.ordering]
    assert {"R003", "R029", "R083", "R166"} <= set(orderings)
    assert not {"R001", "R005", "R114", "R120"} & set(orderings)


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [
        ("650", 650, 0),
        ("8.29K", 8290, 5),
        ("1.73M", 1_730_000, 5000),
        ("177M", 177_000_000, 500_000),
        ("0.64", 0.64, 0.005),
    ],
)
def test_numbers_as_printed(text, value, half):
    assert tuple(map(float, reader.printed(text))) == (value, half)


def test_plausible_results_are_decided(paper, tmp_path):
    """Invented results of the whole heart of the paper: every verdict names what it rests on."""
    synthetic.write(tmp_path, paper, ["fig02", "fig09"])
    _, decisions = judge.judge(paper, root=tmp_path)
    by_id = {d.claim.id: d for d in decisions}
    for claim in ("R003", "R029", "R030", "R031", "R119"):
        assert by_id[claim].verdict == verdict.HOLDS
    assert by_id["R028"].verdict == verdict.FAILS  # 64.8 % in these results, 69.5 % in print
    assert by_id["R024"].cells == tuple(f"ResNet-110/all/seed{s}" for s in range(5))
    assert by_id["R079"].verdict == verdict.NOT_RUN  # the gammas are not there
    settings = {d.claim.id: d for d in decisions if d.claim.kind == "setting"}
    assert {i for i, d in settings.items() if d.verdict != verdict.HOLDS} == {NOT_FOLLOWED}
    assert "normalisation is per channel" in settings[NOT_FOLLOWED].reason
    found = Counter(d.verdict for d in decisions)
    assert found[verdict.NOT_APPLICABLE] == 0 and sum(found.values()) == STATEMENTS + CELLS


def test_the_files(nothing, tmp_path):
    made = table.write(nothing, "a run", tmp_path)
    assert [p.relative_to(tmp_path) for p in made] == [
        paths.CLAIMS,
        *(paths.table("claims", s) for s in ("md", "tex", "csv")),
    ]
    found = pq.read_table(made[0])
    assert found.num_rows == STATEMENTS + CELLS and json.loads(found.schema.metadata[b"bnonly"]) == {
        "kind": "claims",
        "run": "a run",
    }
    assert found.schema.remove_metadata().equals(table.SCHEMA)
    row = found.slice(27, 1).to_pylist()[0]
    assert (row["id"], row["verdict"], row["missing"][0]) == ("R028", "not run", "ResNet-110/bn/seed0")
    rows = list(csv.DictReader(made[3].open(encoding="utf-8")))
    assert [r["id"] for r in rows] == [d.claim.id for d in nothing]
    assert rows[22] | {"estimate": "1730714", "verdict": "holds", "n": "0"} == rows[22]
    assert made[1].read_text().count("\n| R") == STATEMENTS and made[2].read_text().count(r"\\") > STATEMENTS + CELLS
    tex = made[2].read_text()
    assert tex.count(r"\begin{longtable}") == tex.count(r"\end{longtable}") == 1 and tex.count("p{") == 7
    again = [p.read_bytes() for p in made]
    table.write(nothing, "a run", tmp_path)
    assert again == [p.read_bytes() for p in made]


# What the figures show of it.


def test_figures_show_what_the_paper_states_only_if_asked(paper):
    assert not outputs.ask(paper, "fig02").stated
    config = {**synthetic.paper_config(), "paper_values": True}
    asked = outputs.ask(resolve(config), "fig02")
    points = {(s.architecture, s.regime, s.metric): s.value for s in asked.stated}
    assert points["ResNet-110", "bn", "top1"] == 69.5 and points["ImageNet-ResNet-200", "out", "top5"] == 2.7
    assert len(points) == len(asked.stated)  # each once
    assert ("ResNet-434", "bn", "top1") not in points  # our reading of "comparable networks", not a statement
    assert not outputs.ask(resolve(config), "fig04").stated


def test_other_data_show_no_values_of_the_paper():
    config = {**synthetic.small_config(), "paper_values": True}
    assert not outputs.ask(resolve(config), "fig02").stated


@pytest.mark.parametrize("name", ["fig02", "fig03", "fig05"])
def test_stated_values_are_drawn_and_recorded(name, tmp_path):
    found = resolve({**synthetic.paper_config(), "paper_values": True})
    synthetic.write(tmp_path, found, [name])
    from bnonly.figures import render

    asked = outputs.ask(found, name)
    with render.look():
        sheet = render.compose(asked, tmp_path)
    numbers = sheet.numbers
    stated = numbers[numbers["quantity"].str.startswith("stated", na=False)]
    assert sorted(stated["mean"]) == sorted(s.value for s in asked.stated) and stated["claim"].notna().all()
    drawn = [line for ax in sheet.axes for line in ax.lines if line.get_marker() == "*"]
    assert sorted(float(line.get_ydata()[0]) for line in drawn) == sorted(stated["mean"])
    assert any("paper states" in note for note in sheet.notes)
