"""What the report says, as plain values for its template: summary, deviations, figures, tables, claims, cells, cost."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnonly.console import duration, listed, slug
from bnonly.figures.catalog import FIGURES, TABLES
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.report import exhibits, spending, summary
from bnonly.report.deviations import deviations
from bnonly.verdicts import table
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import Decision

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
    """Everything the template shows; see the functions below and the other modules of this folder for each part."""

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
    prices = spending.Prices(grid, paper)
    headline, lead = summary.headline(grid, measured, decisions)
    figures = [exhibits.figure(grid, name, decisions, root) for name in FIGURES.names()]
    tables = [exhibits.table(grid, name, decisions, root) for name in TABLES.names()]
    places = {name: f["number"] for f in [*figures, *tables] for name in [f["name"]]}
    claims = [_claim(d, places, prices) for d in decisions]
    return Content(
        grid.title,
        headline,
        lead,
        summary.tiles(decisions),
        summary.kinds(decisions),
        deviations(grid, measured),
        figures,
        tables,
        claims,
        _cells(grid, measured),
        spending.overview(grid, paper, measured),
        _provenance(grid, measured),
        _failures(grid, measured, root),
        sections=list(dict.fromkeys(d.claim.section.partition(",")[0] for d in decisions)),
    )


# Claims.


def _claim(decision: Decision, places: Mapping[str, str], prices: spending.Prices) -> dict[str, Any]:
    claim = decision.claim
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in decision.cells:
        if key := Key.parse(cell):
            groups[key[:2]].append(str(key.seed))
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for architecture, regime, seed_ in decision.missing:
        missing[architecture, regime].append(str(seed_))
    return {
        "id": claim.id,
        "page": claim.page,
        "section": claim.section,
        "chapter": claim.section.partition(",")[0],
        "kind": claim.kind,
        "kind_title": summary.KIND_TITLES[claim.kind],
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
    groups: dict[tuple[str, str], list[Key]] = defaultdict(list)
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
                "label": grid.regime_labels[regime],
                "runs": len(keys),
                "done": len(done),
                "diverged": diverged,
                "top1": f"{statistics.fmean(finite):.2f}" if finite else "",
                "sd": f"{statistics.stdev(finite):.2f}" if len(finite) > 1 else "",
                "time": duration(sum(map(spending.device_seconds, labels))) if labels else "",
                "state": "done" if len(done) == len(keys) else "partly" if done else "missing",
            }
        )
    return out


# Provenance and failures.


def _provenance(grid: Grid, measured: Measurements) -> list[tuple[str, str]]:
    labels = list(measured.labels.values())
    if not labels:
        return [("Run", grid.title), ("Results", "none")]
    sessions = [s for v in labels for s in v.get("sessions", [v])]
    commits = Counter(
        f"{s['git_commit'][:12]}{' with uncommitted changes' if s.get('git_dirty') else ''}"
        if s.get("git_commit")
        else f"source {s['source_sha256'][:12]}, no commit ({s['git_unknown']})"
        if "source_sha256" in s
        else "no commit"
        for s in sessions
    )
    out = [
        ("Run", grid.title),
        ("Results", f"{len(labels):,} trainings, the first begun {_day(min(v.get('started', '') for v in labels))}, "
                    f"the last ended {_day(max(v.get('ended', '') for v in labels))}"),
        ("Code", listed(f"{c} ({n:,} sessions)" for c, n in commits.most_common(6))),
        ("Devices", listed(f"{d} ({n:,})" for d, n in Counter(v.get("device_name", "unknown") for v in labels).most_common(8))),
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
    from bnonly.results import failure

    out = [
        f"{key} diverged: {v.get('reason') or 'no reason recorded'}. It counts with the accuracy it had."
        for key, v in measured.labels.items()
        if v["status"] == "diverged"
    ]
    out += [f"{reason}. It is left out." for reason in measured.unusable.values()]
    for key, cell in grid.cells.items():
        known = failure.read(root / key.folder) if key not in measured.labels else None
        if known and known["digest"] == cell.digest():
            out.append(f"{cell} failed ({known['times']} times): {known['reason']}.")
    return out
