"""The report's figures and tables, with their numbers and the claims about them.

A changed file, an unreadable file, or a file of another configuration is left out, and its place states the reason.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.console import listed
from bnonly.errors import UserError
from bnonly.figures import outputs, staleness
from bnonly.figures.catalog import BEYOND, TABLES
from bnonly.grid.resolve import Grid
from bnonly.report.claims import numbers
from bnonly.verdicts import verdict
from bnonly.verdicts.verdict import Decision

#: Figures with more points than this have their numbers in the CSV file only.
MOST_ROWS = 130
#: Pixels of a figure (200 an inch) per pixel of the page: text then has the size of small print.
SCALE = 1.6
#: Columns of a figure's CSV file that the page shows.
COLUMNS = "panel architecture label quantity x mean sd n runs diverged slope r p".split()


def figure(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    """Return a figure with its image and its numbers, or the reason why it is missing."""
    doc = (outputs.catalog_of(name).module(name).__doc__ or name).strip()
    number, _, caption = doc.splitlines()[0].partition(": ")
    out = _described(name, number, caption, decisions)
    out["more"] = " ".join(" ".join(doc.splitlines()[1:]).split())
    try:
        _check(grid, name, root)
        image = (root / paths.figure(name, "png")).read_bytes()
        out["numbers"] = _points((root / paths.figure(name, "csv")).read_text(encoding="utf-8"))
        # A PNG's width and height are at fixed places; they keep the page from jumping while it loads.
        width, height = struct.unpack(">II", image[16:24])
    except UserError as problem:
        return {**out, "why": str(problem)}
    except (OSError, ValueError, csv.Error, struct.error):
        return {**out, "why": str(_not_made(name, "a file is damaged"))}
    return out | {
        "src": "data:image/png;base64," + base64.b64encode(image).decode(),
        "width": round(width / SCALE),
        "height": round(height / SCALE),
        "alt": _alt(grid, name, out["caption"]),
    }


def table(grid: Grid, name: str, decisions: Sequence[Decision], root: Path) -> dict[str, Any]:
    """Return a table with its cells, or the reason why it is missing."""
    title = TABLES.title(name)
    number, _, caption = title.partition(": ")
    if not number.endswith(("B.2", "C.1")) and not number.startswith("Table"):
        number, caption = "Text-only results", title
    out = _described(name, number, caption, decisions)
    try:
        _check(grid, name, root)
        lines = (root / paths.table(name, "md")).read_text(encoding="utf-8").splitlines()
        rows = [_cells(line) for line in lines if line.startswith("| ")]
        columns = [(text, rule.endswith(":")) for text, rule in zip(rows[0], rows[1], strict=True)]
    except UserError as problem:
        return {**out, "why": str(problem)}
    except (OSError, ValueError, IndexError):
        return {**out, "why": str(_not_made(name, "a file is damaged"))}
    return out | {
        "columns": columns,
        "rows": rows[2:],
        "notes": [html.unescape(line) for line in lines if line and not line.startswith(("|", "**"))],
    }


def _described(name: str, number: str, caption: str, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the caption and the claims of a figure or table, which need no files."""
    mine = [d for d in decisions if name in d.claim.figures]
    found = Counter(d.verdict for d in mine)
    # A result of training that the paper states as a number.
    stated = [d for d in mine if d.claim.counted and all(t.rule == "equals" for t in d.claim.tests)]
    return {
        "name": name,
        "number": number,
        "caption": caption[:1].upper() + caption[1:],
        "claims": [{"id": d.claim.id, "verdict": d.verdict, "says": d.claim.says} for d in mine],
        "counts": [(v, found[v]) for v in verdict.VERDICTS if found[v]],
        "stated": [numbers(d) for d in stated],
    }


def _check(grid: Grid, name: str, root: Path) -> None:
    """Check that the files of a figure or table belong to this run.

    Raises
    ------
    UserError
        If they are missing, were changed, or were made from other results or by other code.
    """
    if not any(n.experiment in grid.experiments for n in outputs.catalog_of(name).needs(name)):
        raise UserError("This run has none of its experiments.")
    fault = staleness.fault_of(outputs.ask(grid, name), root)
    if fault:
        raise _not_made(name, "" if fault.kind == "missing" else fault.text)


def _not_made(name: str, why: str) -> UserError:
    catalog = outputs.catalog_of(name)
    made, verb = ("Not made", "Make") if catalog is TABLES else ("Not drawn", "Draw")
    target = "figures/beyond" if catalog is BEYOND else name
    return UserError(
        f"{made}{': ' if why else ''}{why}. {verb} it with: snakemake {target} (and the options of this run)"
    )


def _alt(grid: Grid, name: str, caption: str) -> str:
    asked = outputs.ask(grid, name)
    panels = []
    for panel in asked.panels:
        networks = listed([a.label for a in panel.architectures])
        regimes = listed([asked.labels[r] for r in panel.regimes])
        panels.append(f"{panel.title} on {panel.dataset_title}: {networks}; {regimes}")
    return f"{caption} {'. '.join(panels)}. The numbers follow below or are in {paths.figure(name, 'csv')}."


def _points(text: str) -> dict[str, Any] | None:
    """Return the points of a figure as a small table; wide columns stay in the CSV file."""
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not rows or len(rows) > MOST_ROWS:
        return None
    columns = [c for c in COLUMNS if c in rows[0] and any(r[c] for r in rows)]
    if "mean" not in columns:
        return None
    return {"columns": [(c, False) for c in columns], "rows": [[_short(r[c] or "") for c in columns] for r in rows]}


def _short(text: str) -> str:
    try:
        return f"{float(text):.5g}"
    except ValueError:
        return text


def _cells(line: str) -> list[str]:
    """Split a row of a Markdown table as `bnonly.figures.tables.layout.markdown` writes it."""
    return [html.unescape(c.strip().replace("\\|", "|")) for c in re.split(r"(?<!\\)\|", line)[1:-1]]
