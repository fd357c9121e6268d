"""What the report says, as plain values for its template: summary, deviations, figures, tables, claims, cells, cost."""

from __future__ import annotations

import base64
import csv
import math
import statistics
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnonly import outputs, paths
from bnonly.claims import catalog, decide, table
from bnonly.claims.decide import Decision
from bnonly.claims.measure import Measurements
from bnonly.cost import estimate, find_gpu
from bnonly.cost.gpus import of_configuration
from bnonly.cost.measured import scan
from bnonly.cost.table import costs, default_kinds
from bnonly.datasets import DATASETS
from bnonly.figures import catalog as figure_catalog
from bnonly.grid import Experiment, Grid
from bnonly.tables import catalog as table_catalog

#: Figures with more points than this have their numbers in the CSV file only.
MOST_ROWS = 130
#: Pixels of a figure (200 an inch) to a pixel of the page: its type is then as large as small print.
SCALE = 1.6
KIND_TITLES = {
    "result": "Results of training",
    "count": "Parameter counts and structure",
    "setting": "Settings",
    "external": "Prior work",
}
SHORT = {"result": "of training", "count": "counted", "setting": "settings", "external": "of prior work"}
#: What each verdict means, for the legend of the summary.
MEANINGS = {
    decide.HOLDS: "every interval lies inside what the rule accepts",
    decide.FAILS: "an interval lies outside",
    decide.UNDECIDED: "an interval is too wide to say",
    decide.NOT_RUN: "trainings are missing",
    decide.NOT_APPLICABLE: "the results are of other data, or of another protocol",
    decide.INCONSISTENT: "the paper's own numbers contradict it",
    decide.EXTERNAL: "a result of prior work",
}
#: Choices where the paper is silent or unclear that every run of this project shares.
CHOICES = (
    "“γ and β disabled” (Figures 1 and 8) means γ = 1, β = 0, not trained.",
    "Images are normalised per channel; the text says per pixel, the authors' public code does it per channel.",
    "Accuracy is of the final weights, never of the best epoch; a run that diverges counts with what it had.",
    "Clamping sets γ to zero in every BatchNorm layer, and keeps β and the running statistics.",
    "Where BatchNorm is frozen but not disabled, γ and β stay at their random draw.",
    "The grid of small ResNets (Figure 10) is ours: the paper does not list its own.",
)


@dataclass
class Content:
    """Everything the template shows; see the functions below for each part."""

    title: str
    headline: str
    lead: list[str]
    tiles: list[dict[str, Any]]
    kinds: list[dict[str, Any]]
    deviations: list[str]
    figures: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    claims: list[dict[str, Any]]
    cells: list[dict[str, Any]]
    cost: dict[str, Any]
    provenance: list[tuple[str, str]]
    failures: list[str]
    choices: Sequence[str] = CHOICES
    sections: list[str] = field(default_factory=list)


def collect(
    grid: Grid, paper: Grid | None, measured: Measurements, decisions: Sequence[Decision], root: Path
) -> Content:
    """Gather the report's content.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    paper : Grid, optional
        The paper's, for the cost of what the run's lacks.
    measured : Measurements
        The results.
    decisions : sequence of Decision
        The verdict on each claim.
    root : Path
        The run's folder.
    """
    missing_costs = _Costs(grid, paper)
    headline, lead = _headline(grid, measured, decisions)
    figures = [_figure(grid, name, decisions, root) for name in figure_catalog.names()]
    tables = [_table(grid, name, decisions, root) for name in table_catalog.names()]
    places = {name: f["number"] for f in [*figures, *tables] for name in [f["name"]]}
    claims = [_claim(d, places, missing_costs) for d in decisions]
    return Content(
        grid.title,
        headline,
        lead,
        _tiles(decisions),
        _kinds(decisions),
        _deviations(grid, measured),
        figures,
        tables,
        claims,
        _cells(grid, measured),
        _cost(grid, paper, measured),
        _provenance(grid, measured),
        _failures(grid, measured, root),
        sections=list(dict.fromkeys(d.claim.section.partition(",")[0] for d in decisions)),
    )


# Summary.


def _headline(grid: Grid, measured: Measurements, decisions: Sequence[Decision]) -> tuple[str, list[str]]:
    results, counts = table.count(decisions, ["result"]), table.count(decisions, ["count"])
    decided = results[decide.HOLDS] + results[decide.FAILS] + results[decide.UNDECIDED]
    training = sum(results.values())
    exact = counts[decide.HOLDS] + counts[decide.FAILS]
    data = list(
        dict.fromkeys(DATASETS[e.dataset].title for e in grid.experiments.values() if not DATASETS[e.dataset].paper)
    )
    lead = []
    if not measured.labels:
        headline = f"Nothing has been trained yet: {training} claims wait for results"
    elif decided:
        headline = f"{results[decide.HOLDS]} of the {decided} claims that were run hold"
        lead.append(
            f"Of the paper's {training} claims about training, {decided} could be decided: {results[decide.HOLDS]} hold, "
            f"{results[decide.FAILS]} do not, and {results[decide.UNDECIDED]} are undecided."
        )
    elif data:
        headline = f"A run on {' and '.join(data)}: it cannot reproduce the paper's numbers"
    else:
        headline = f"None of the {training} claims about training can be decided yet"
    elsewhere = [d for d in decisions if d.verdict == decide.NOT_APPLICABLE and d.claim.ordering and d.finding]
    if elsewhere:
        found = Counter(d.finding.rpartition(": ")[2].removesuffix(" so far") for d in elsewhere)
        parts = ", ".join(
            f"{n} {'are undecided' if w == decide.UNDECIDED else _plural(w, n)}" for w, n in found.most_common()
        )
        lead.append(
            f"{len(elsewhere)} of the paper's claims say which is more or which way a trend goes. Looked at on this run's own "
            f"terms ({' and '.join(data) or 'another protocol'}): {parts}. That is not a verdict on the paper."
        )
    lead.append(
        f"{counts[decide.HOLDS]} of {exact} claims about parameter counts and structure hold exactly; these need no training."
    )
    if n := sum(d.verdict == decide.INCONSISTENT for d in decisions):
        lead.append(f"{n} statements are contradicted by the paper's own numbers; each is shown with the arithmetic.")
    return headline, lead


def _plural(verdict: str, n: int) -> str:
    if n == 1:
        return verdict
    return {decide.HOLDS: "hold", decide.FAILS: "do not hold"}.get(verdict, verdict)


def _tiles(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    by_kind = {kind: table.count(decisions, [kind]) for kind in catalog.KINDS}
    return [
        {
            "verdict": verdict,
            "slug": slug(verdict),
            "count": n,
            "meaning": MEANINGS[verdict],
            "parts": ", ".join(f"{by_kind[k][verdict]} {SHORT[k]}" for k in catalog.KINDS if by_kind[k][verdict]),
        }
        for verdict, n in table.count(decisions).items()
    ]


def _kinds(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    out = []
    for kind in catalog.KINDS:
        counts, x, bar = table.count(decisions, [kind]), 0.0, []
        total = sum(counts.values())
        for verdict, n in counts.items():
            if n:
                bar.append({"slug": slug(verdict), "x": f"{x:.2f}", "width": f"{1000 * n / total:.2f}"})
                x += 1000 * n / total
        out.append({"title": KIND_TITLES[kind], "kind": kind, "counts": counts, "total": total, "bar": bar})
    return out


def slug(text: str) -> str:
    """Return a word for ids and classes."""
    return text.replace(" ", "-").replace("/", "-")


# Deviations from the paper's protocol.


def _deviations(grid: Grid, measured: Measurements) -> list[str]:
    paper = catalog.load()
    protocol = decide.protocol(paper)
    out: list[str] = []
    foreign: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and grid.experiments[name].dataset != wanted.dataset:
            foreign[grid.experiments[name].dataset].append(name)
    for dataset, names in foreign.items():
        info = DATASETS[dataset]
        meant = _listed(dict.fromkeys(DATASETS[paper.experiments[n].dataset].title for n in names))
        out.append(
            f"Data: {_called(grid, names)} trained on {info.title} ({info.train_images:,} training images of {info.image_size} "
            f"pixels, {info.test_images:,} for testing), not on {meant}."
        )
    same: dict[str, list[str]] = defaultdict(list)
    for name, experiment in grid.experiments.items():
        if name in protocol and (text := _schedule(grid, experiment, protocol[name])):
            same[text].append(name)
    out += [f"Schedule of {_called(grid, names)}: {text}." for text, names in same.items()]
    networks: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and list(grid.experiments[name].architectures) != list(wanted.architectures):
            networks[name] = list(grid.experiments[name].architectures)
    if networks:
        titles: dict[str, dict[str, None]] = defaultdict(dict)
        for name, found in networks.items():
            titles[grid.experiments[name].title].update(dict.fromkeys(grid.labels[a] for a in found))
        parts = [f"{_listed(labels)} ({title})" for title, labels in titles.items()]
        out.append(f"Networks: not the paper's, but {'; '.join(parts)}.")
    seeds: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and len(grid.experiments[name].seeds) != wanted.seeds:
            seeds[f"{len(grid.experiments[name].seeds)} instead of {wanted.seeds}"].append(name)
    if seeds:
        out.append(f"Replicates: {'; '.join(f'{text} in {_called(grid, names)}' for text, names in seeds.items())}.")
    absent = [n for n in paper.experiments if n not in grid.experiments]
    if absent:
        out.append(f"Experiments left out of this run: {_listed(absent)}.")
    cells = [grid.cells[k] for k in measured.labels]
    for engine, precision in sorted({(c.engine, c.precision) for c in cells} - {("reference", "fp32")}):
        out.append(
            f"Trained with the {engine} engine in {precision}; the reference is PyTorch's own operations in fp32."
        )
    wanted_cells = grid.on_default()
    missing = len(wanted_cells - set(measured.labels))
    if missing:
        out.append(
            f"Missing: {missing:,} of the {len(wanted_cells):,} trainings behind the figures and tables are not there."
        )
    requested = {k for k in grid.cells if k not in wanted_cells}
    if requested and (lacking := len(requested - set(measured.labels))):
        out.append(
            f"Missing: {lacking:,} of the {len(requested):,} trainings for what the paper states without a figure "
            "(made on request: tables/text_only.md)."
        )
    return out


def _called(grid: Grid, names: Sequence[str]) -> str:
    """Name experiments by their titles, each once."""
    if set(names) >= set(grid.experiments):
        return "everything"
    return _listed(dict.fromkeys(grid.experiments[n].title for n in names))


_SETTINGS = {
    "recipe.epochs": "epochs",
    "recipe.batch_size": "images a batch",
    "recipe.lr": "initial learning rate",
    "recipe.momentum": "momentum",
    "recipe.weight_decay": "weight decay",
    "recipe.milestones": "drops after epochs",
    "recipe.drop": "factor of a drop",
    "recipe.warmup_epochs": "epochs of warm-up",
    "recipe.augmentation.flip": "flipped images",
    "recipe.augmentation.shift": "pixels of shift",
    "recipe.augmentation.crop": "random crops",
}


def _schedule(grid: Grid, experiment: Experiment, protocol: Mapping[str, Any]) -> str:
    found: dict[str, set[str]] = defaultdict(set)
    wanted = {}
    for regime in experiment.regimes:
        for architecture in experiment.architectures:
            cell = grid.cell(architecture, regime, experiment.seeds[0])
            for key, value in protocol.items():
                mine = decide.setting_of(cell, grid, experiment.name, key)
                if mine != value:
                    found[key].add(_value(mine))
                    wanted[key] = _value(value)
    return "; ".join(f"{_SETTINGS.get(k, k)} {' or '.join(sorted(v))} instead of {wanted[k]}" for k, v in found.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return _listed([_value(v) for v in value]) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(words: Iterable[str]) -> str:
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""


# Figures and tables.


def _about(name: str, decisions: Sequence[Decision]) -> dict[str, Any]:
    mine = [d for d in decisions if name in d.claim.figures]
    found = Counter(d.verdict for d in mine)
    return {
        "claims": [
            {"id": d.claim.id, "slug": slug(d.verdict), "verdict": d.verdict, "says": d.claim.says} for d in mine
        ],
        "counts": [(v, slug(v), found[v]) for v in decide.VERDICTS if found[v]],
    }


def _figure(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    doc = (figure_catalog.module(name).__doc__ or name).strip()
    number, _, caption = doc.splitlines()[0].partition(": ")
    image = root / paths.figure(name, "png")
    out: dict[str, Any] = {
        "name": name,
        "number": number,
        "caption": caption[:1].upper() + caption[1:],
        "more": " ".join(" ".join(doc.splitlines()[1:]).split()),
        **_about(name, decisions),
    }
    wanted = any(n.experiment in grid.experiments for n in figure_catalog.needs(name))
    if not image.exists() or not wanted:
        out["why"] = f"Not drawn. Draw it with: snakemake {name}" if wanted else "This run has none of its experiments."
        return out
    content = image.read_bytes()
    # A PNG's width and height are at fixed places; they keep the page from jumping while it loads.
    width, height = struct.unpack(">II", content[16:24])
    out |= {
        "src": "data:image/png;base64," + base64.b64encode(content).decode(),
        "width": round(width / SCALE),
        "height": round(height / SCALE),
        "alt": _alt(grid, name, out["caption"]),
        "numbers": _numbers(root / paths.figure(name, "csv")),
    }
    return out


def _alt(grid: Grid, name: str, caption: str) -> str:
    asked = outputs.ask(grid, name)
    panels = []
    for panel in asked["panels"]:
        networks = _listed([asked["labels"][a["name"]] for a in panel["architectures"]])
        regimes = _listed([asked["labels"][r] for r in panel["regimes"]])
        panels.append(f"{panel['title']} on {panel['dataset_title']}: {networks}; {regimes}")
    return f"{caption} {'. '.join(panels)}. The numbers follow below or are in {paths.figure(name, 'csv')}."


def _numbers(path: Path) -> dict[str, Any] | None:
    """Return the points of a figure as a small table, its wide columns left to the CSV file."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    wanted = (
        "panel",
        "architecture",
        "label",
        "quantity",
        "x",
        "mean",
        "sd",
        "n",
        "runs",
        "diverged",
        "slope",
        "r",
        "p",
    )
    if not rows or len(rows) > MOST_ROWS:
        return None
    columns = [c for c in wanted if c in rows[0] and any(r[c] for r in rows)]
    if "mean" not in columns:
        return None
    return {"columns": columns, "rows": [[_short(r[c]) for c in columns] for r in rows]}


def _short(text: str) -> str:
    try:
        return f"{float(text):.5g}"
    except ValueError:
        return text


def _table(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    title = table_catalog.title(name)
    number, _, caption = title.partition(": ")
    if not number.endswith(("B.2", "C.1")) and not number.startswith("Table"):
        number, caption = "Text-only results", title
    path = root / paths.table(name, "md")
    out: dict[str, Any] = {
        "name": name,
        "number": number,
        "caption": caption[:1].upper() + caption[1:],
        **_about(name, decisions),
    }
    wanted = any(n.experiment in grid.experiments for n in table_catalog.needs(name))
    if not path.exists() or not wanted:
        out["why"] = f"Not made. Make it with: snakemake {name}" if wanted else "This run has none of its experiments."
        return out
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    grid_lines = [line for line in lines if line.startswith("| ")]
    rows = [[c.strip().replace("\\|", "|") for c in line[1:-1].replace("\\|", "\0").split("|")] for line in grid_lines]
    out |= {
        "columns": rows[0],
        "rows": [[c.replace("\0", "|") for c in row] for row in rows[2:]],
        "numeric": [c.rstrip().endswith(":") for c in rows[1]],
        "notes": [line for line in lines if not line.startswith(("|", "**"))],
    }
    return out


# Claims.


def _claim(decision: Decision, places: Mapping[str, str], prices: _Costs) -> dict[str, Any]:
    claim = decision.claim
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in decision.cells:
        architecture, regime, seed = cell.split("/")
        groups[architecture, regime].append(seed.removeprefix("seed"))
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for architecture, regime, seed_ in decision.missing:
        missing[architecture, regime].append(str(seed_))
    return {
        "id": claim.id,
        "page": claim.page,
        "section": claim.section,
        "chapter": claim.section.partition(",")[0],
        "kind": claim.kind,
        "kind_title": KIND_TITLES[claim.kind],
        "says": claim.says,
        "value": claim.value,
        "rule": claim.rule,
        "reading": claim.reading,
        "note": claim.note,
        "figures": [(f, places.get(f, f)) for f in claim.figures],
        "verdict": decision.verdict,
        "slug": slug(decision.verdict),
        "reason": decision.reason,
        "finding": decision.finding[:1].upper() + decision.finding[1:],
        "found": table.shown(decision) if decision.evidence else "",
        "evidence": [
            {
                "what": e.what,
                "value": table.number(e.value),
                "sd": table.number(e.sd),
                "n": e.n or "",
                "interval": f"{table.number(e.low)} to {table.number(e.high)}" if e.n and math.isfinite(e.low) else "",
                "verdict": e.verdict,
                "slug": slug(e.verdict),
            }
            for e in decision.evidence
        ],
        "cells": [_group(k, seeds) for k, seeds in groups.items()],
        "missing": [_group(k, seeds) for k, seeds in missing.items()],
        "missing_runs": len(decision.missing),
        "cost": prices.of(decision.missing),
    }


def _group(key: tuple[str, str], seeds: Sequence[str]) -> dict[str, str]:
    return {"name": f"{key[0]}/{key[1]}", "anchor": f"cell-{key[0]}-{key[1]}", "seeds": ", ".join(seeds)}


# Cells.


def _cells(grid: Grid, measured: Measurements) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
    for key in grid.cells:
        groups[key[:2]].append(key)
    out = []
    for (architecture, regime), keys in groups.items():
        done = [k for k in keys if k in measured.labels]
        top1 = [float(measured.value("top1", k, 0.0, (0.0, 0.0))) for k in done]
        finite = [v for v in top1 if math.isfinite(v)]
        labels = [measured.labels[k] for k in done]
        diverged = sum(v["status"] == "diverged" for v in labels)
        out.append(
            {
                "anchor": f"cell-{architecture}-{regime}",
                "name": f"{architecture}/{regime}",
                "label": grid.labels[regime],
                "runs": len(keys),
                "done": len(done),
                "diverged": diverged,
                "top1": f"{statistics.fmean(finite):.2f}" if finite else "",
                "sd": f"{statistics.stdev(finite):.2f}" if len(finite) > 1 else "",
                "time": duration(sum(map(_device_seconds, labels))) if labels else "",
                "state": "done" if len(done) == len(keys) else "partly" if done else "missing",
            }
        )
    return out


def _device_seconds(label: dict[str, Any]) -> float:
    """Return a run's time on its device: its share of it, where replicates trained side by side."""
    return float(label.get("wall_seconds", 0.0)) / int(label.get("together", 1))


# Cost.


class _Costs:
    """What missing trainings would cost, where the cost model knows."""

    KIND = "a100-80"

    def __init__(self, grid: Grid, paper: Grid | None) -> None:
        self._grids = [g for g in (grid, paper) if g]
        self._seconds: dict[tuple[str, str], float] = {}

    def of(self, keys: Sequence[tuple[str, str, int]]) -> str:
        seconds = [self._one(k) for k in keys]
        if not keys or not all(math.isfinite(s) for s in seconds):
            return ""
        return f"{duration(sum(seconds))} on one {self.KIND.upper()}"

    def _one(self, key: tuple[str, str, int]) -> float:
        if key[:2] not in self._seconds:
            self._seconds[key[:2]] = self._estimate(key)
        return self._seconds[key[:2]]

    def _estimate(self, key: tuple[str, str, int]) -> float:
        for grid in self._grids:
            cell = next((c for k, c in grid.cells.items() if k[:2] == key[:2]), None)
            if cell:
                return float(estimate(cell, find_gpu(self.KIND)).seconds)
        return math.nan


def _cost(grid: Grid, paper: Grid | None, measured: Measurements) -> dict[str, Any]:
    spent: dict[tuple[str, str], list[float]] = {}
    for key, label in measured.labels.items():
        cell = grid.cells[key]
        row = spent.setdefault(
            (label.get("device_name", "unknown"), f"{cell.engine}, {cell.precision}"), [0.0, 0.0, 0.0, 0.0]
        )
        row[0] += 1
        row[1] += _device_seconds(label)
        row[2] = max(row[2], label.get("peak_device_bytes", label.get("peak_host_bytes", 0)))
        row[3] += label.get("energy_joules", math.nan)
    return {
        "spent": [
            {
                "device": device,
                "engine": engine,
                "runs": int(n),
                "time": duration(seconds),
                "memory": f"{peak / 1e9:.1f} GB",
                "energy": f"{joules / 3.6e6:.2f} kWh" if math.isfinite(joules) else "not measured",
            }
            for (device, engine), (n, seconds, peak, joules) in spent.items()
        ],
        "plans": _plans(grid, paper, measured),
    }


def _plans(grid: Grid, paper: Grid | None, measured: Measurements) -> list[dict[str, Any]]:
    own = of_configuration(grid.gpus)
    kinds = [g for g in default_kinds(own) if not g.is_cpu]
    known = scan(own) if measured.labels else None
    plans: list[tuple[str, Grid, list[tuple[str, str, int]]]] = []
    missing = [k for k in grid.cells if k in grid.on_default() and k not in measured.labels]
    everything = [k for k in paper.cells if k in paper.on_default()] if paper else []
    if missing != everything:
        plans.append(("What this run still misses", grid, missing))
    if paper:
        plans.append(("The whole paper (Figures 1 to 25)", paper, everything))
        asked = [k for k in paper.cells if k not in paper.on_default()]
        plans.append(("What the paper states without a figure", paper, asked))
    out = []
    for title, of, keys in plans:
        if not keys:
            continue
        found = costs(of, keys, kinds, measured=known)
        out.append(
            {
                "title": title,
                "runs": f"{len(keys):,}",
                "flops": _flops(found["train_flops"]),
                "disk": f"{found['disk_bytes'] / 1e9:.1f} GB",
                "kinds": [
                    {
                        "name": k["kind"],
                        "hours": f"{k['seconds'] / 3600:,.0f}"
                        if k["seconds"] > 36000
                        else f"{k['seconds'] / 3600:.2g}",
                        "precision": " and ".join(k["precision"]),
                        "energy": f"{k['joules'] / 3.6e6:,.0f} kWh"
                        if k["joules"] > 3.6e6
                        else f"{k['joules'] / 3.6e6:.2g} kWh",
                        "error": f"within a factor of {k['error_factor']:.2g}"
                        if k["error_factor"]
                        else "not yet compared with a run",
                        "too_large": len(k["too_large"]),
                    }
                    for k in found["kinds"]
                ],
            }
        )
    return out


def _flops(flops: float) -> str:
    exponent = math.floor(math.log10(flops)) if flops else 0
    return f"{flops / 10**exponent:.1f} × 10{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(d)] for d in str(exponent))}"


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.1f} days"


# Provenance and failures.


def _provenance(grid: Grid, measured: Measurements) -> list[tuple[str, str]]:
    labels = list(measured.labels.values())
    if not labels:
        return [("Run", grid.title), ("Results", "none")]
    sessions = [s for v in labels for s in v.get("sessions", [v])]
    commits = Counter(
        f"{(s.get('git_commit') or 'not a checkout')[:12]}{' with uncommitted changes' if s.get('git_dirty') else ''}"
        for s in sessions
    )
    out = [
        ("Run", grid.title),
        ("Results", f"{len(labels):,} trainings, the first begun {_day(min(v.get('started', '') for v in labels))}, "
                    f"the last ended {_day(max(v.get('ended', '') for v in labels))}"),
        ("Code", _listed(f"{c} ({n:,} sessions)" for c, n in commits.most_common(6))),
        ("Devices", _listed(f"{d} ({n:,})" for d, n in Counter(v.get("device_name", "unknown") for v in labels).most_common(8))),
    ]  # fmt: skip
    versions: dict[str, set[str]] = defaultdict(set)
    for session in sessions:
        for name, version in session.get("versions", {}).items():
            versions[name].add(version)
    out.append(
        ("Versions", ", ".join(f"{n} {' and '.join(sorted(v))}" for n, v in sorted(versions.items())) or "not recorded")
    )
    data = {v["data"]["dataset"]: v["data"]["sha256"] for v in labels}
    out.append(
        (
            "Data",
            "; ".join(f"{DATASETS[d].title if d in DATASETS else d}: SHA-256 {h}" for d, h in sorted(data.items())),
        )
    )
    resumed = sum(bool(v.get("resumed")) for v in labels)
    out.append(("Interrupted and continued", f"{resumed:,} trainings" if resumed else "none"))
    return out


def _day(text: str) -> str:
    return text.replace("T", " ").partition("+")[0] + " UTC" if text else "at an unknown time"


def _failures(grid: Grid, measured: Measurements, root: Path) -> list[str]:
    from bnonly.train import failure

    out = [
        f"{a}/{r}/seed{s} diverged: {v.get('reason') or 'no reason recorded'}. It counts with the accuracy it had."
        for (a, r, s), v in measured.labels.items()
        if v["status"] == "diverged"
    ]
    out += [f"{reason}. It is left out." for reason in measured.unusable.values()]
    for key, cell in grid.cells.items():
        known = failure.read(root / paths.cell_dir(*key)) if key not in measured.labels else None
        if known and known["digest"] == cell.digest():
            out.append(f"{cell} failed ({known['times']} times): {known['reason']}.")
    return out
