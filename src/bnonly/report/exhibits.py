"""The report's figures and tables, with their numbers and the claims about them."""

from __future__ import annotations

import base64
import csv
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.console import listed, slug
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.figures.catalog import FIGURES, TABLES
from bnonly.grid.resolve import Grid
from bnonly.verdicts import verdict
from bnonly.verdicts.verdict import Decision

#: Figures with more points than this have their numbers in the CSV file only.
MOST_ROWS = 130
#: Pixels of a figure (200 an inch) to a pixel of the page: its type is then as large as small print.
SCALE = 1.6
NONE = "This run has none of its experiments."


def _about(name: str, decisions: Sequence[Decision]) -> dict[str, Any]:
    mine = [d for d in decisions if name in d.claim.figures]
    found = Counter(d.verdict for d in mine)
    return {
        "claims": [
            {"id": d.claim.id, "slug": slug(d.verdict), "verdict": d.verdict, "says": d.claim.says} for d in mine
        ],
        "counts": [(v, slug(v), found[v]) for v in verdict.VERDICTS if found[v]],
    }


def _fault(grid: Grid, name: str, root: Path) -> str | None:
    """Return why a figure or table is not shown, as the end of a sentence; None if it is."""
    try:
        found = outputs.fault_of(outputs.ask(grid, name), root)
    except UserError as problem:
        return f": {problem}"
    if not found:
        return None
    return "" if found.kind == "missing" else f": {found.text}"


def figure(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    """Return a figure with its image and its numbers, or why it is not there."""
    doc = (FIGURES.module(name).__doc__ or name).strip()
    number, _, caption = doc.splitlines()[0].partition(": ")
    image = root / paths.figure(name, "png")
    out: dict[str, Any] = {
        "name": name,
        "number": number,
        "caption": caption[:1].upper() + caption[1:],
        "more": " ".join(" ".join(doc.splitlines()[1:]).split()),
        **_about(name, decisions),
    }
    wanted = any(n.experiment in grid.experiments for n in FIGURES.needs(name))
    if not wanted or (found := _fault(grid, name, root)) is not None:
        out["why"] = f"Not drawn{found}. Draw it with: snakemake {name}" if wanted else NONE
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
    for panel in asked.panels:
        networks = listed([a.label for a in panel.architectures])
        regimes = listed([asked.labels[r] for r in panel.regimes])
        panels.append(f"{panel.title} on {panel.dataset_title}: {networks}; {regimes}")
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


def table(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    """Return a table with its cells, or why it is not there."""
    title = TABLES.title(name)
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
    wanted = any(n.experiment in grid.experiments for n in TABLES.needs(name))
    if not wanted or (found := _fault(grid, name, root)) is not None:
        out["why"] = f"Not made{found}. Make it with: snakemake {name}" if wanted else NONE
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
