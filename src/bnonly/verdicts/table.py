"""Verdicts as files: ``results/claims.parquet`` with all evidence, and a table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bnonly import paths
from bnonly.console import listed
from bnonly.figures.tables import layout
from bnonly.results import atomic
from bnonly.verdicts.verdict import (
    EXTERNAL,
    FAILS,
    HOLDS,
    INCONSISTENT,
    NOT_APPLICABLE,
    NOT_RUN,
    UNDECIDED,
    VERDICTS,
    Decision,
)

_EVIDENCE = pa.struct(
    [
        ("what", pa.string()),
        ("value", pa.float64()),
        ("sd", pa.float64()),
        ("n", pa.int32()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("verdict", pa.string()),
    ]
)
#: One row for each claim.  `low` and `high` of the evidence are its 95 % interval; n is 0 for exact numbers.
SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("id", pa.string()),
            ("page", pa.int32()),
            ("section", pa.string()),
            ("kind", pa.string()),
            ("says", pa.string()),
            ("value", pa.string()),
            ("rule", pa.string()),
            ("figures", pa.list_(pa.string())),
            ("verdict", pa.string()),
            ("reason", pa.string()),
            ("finding", pa.string()),
            ("evidence", pa.list_(_EVIDENCE)),
            ("cells", pa.list_(pa.string())),
            ("missing", pa.list_(pa.string())),
        )
    ]
)
#: What one claim, and what several claims of a verdict do.
_IN_WORDS = {
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    UNDECIDED: ("is undecided", "are undecided"),
    NOT_RUN: ("waits for training", "wait for training"),
    NOT_APPLICABLE: ("does not apply to these trainings", "do not apply to these trainings"),
    INCONSISTENT: ("is contradicted by the paper's own numbers", "are contradicted by the paper's own numbers"),
    EXTERNAL: ("is prior work, not to be rerun", "are prior work, not to be rerun"),
}
#: The columns that describe a claim, as `Claim` names them.
_ABOUT = ("id", "page", "section", "kind", "says", "value", "rule")
_FORMATS = {"md": layout.markdown, "tex": layout.latex, "csv": layout.comma_separated}


def write(decisions: Sequence[Decision], run: str, root: Path = Path(".")) -> list[Path]:
    """Write the Parquet file and the table.

    Parameters
    ----------
    decisions : sequence of Decision
        The decisions on all claims.
    run : str
        The run's title.
    root : Path
        Its folder.

    Returns
    -------
    list of Path
        The Parquet, Markdown, LaTeX and CSV file.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    content = pa.Table.from_pylist([row(d) for d in decisions], schema=SCHEMA)
    label = {"kind": "claims", "run": run}
    content = content.replace_schema_metadata({b"bnonly": json.dumps(label).encode()})
    made = [root / paths.CLAIMS]
    with atomic.writing(made[0]) as stream:
        pq.write_table(content, stream, compression="zstd", write_page_checksum=True)
    table = lay_out(decisions, run)
    for suffix in paths.TABLE_FORMATS:
        made.append(root / paths.table("claims", suffix))
        with atomic.writing(made[-1]) as stream:
            stream.write(_FORMATS[suffix](table).encode())
    return made


def row(decision: Decision) -> dict[str, object]:
    """Return a decision as a row of `SCHEMA`."""
    return {
        **{name: getattr(decision.claim, name) for name in _ABOUT},
        "figures": list(decision.claim.figures),
        "verdict": decision.verdict,
        "reason": decision.reason,
        "finding": decision.finding,
        "evidence": [asdict(e) for e in decision.evidence],
        "cells": list(decision.cells),
        "missing": [str(key) for key in decision.missing],
    }


def count(decisions: Sequence[Decision], kinds: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of claims with each verdict, for all kinds or some."""
    found = Counter(d.verdict for d in decisions if not kinds or d.claim.kind in kinds)
    return {v: found[v] for v in VERDICTS}


def summary(decisions: Sequence[Decision]) -> str:
    """Return one line: how many of the claims about training hold, and what became of all claims."""
    found, trained = count(decisions), count([d for d in decisions if d.claim.counted])
    run = trained[HOLDS] + trained[FAILS] + trained[UNDECIDED]
    words = {v: f"{n} {_IN_WORDS[v][n != 1]}" for v, n in found.items() if n}
    if run:
        said = f"{trained[HOLDS]} of the {run} claims about training that were run hold"
    else:
        said = "No claim about training has a verdict yet"
        words |= {HOLDS: f"{words[HOLDS]} without training"} if HOLDS in words else {}
    return f"{said}. Of all {len(decisions)} claims, {listed(words.values())}"


def number(value: float) -> str:
    """Return a number for readers: four significant digits, counts whole."""
    if not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}".replace("-", "−")


def shown(decision: Decision) -> str:
    """Return the result: a number with its interval, or the range of several numbers."""
    known = [e for e in decision.evidence if math.isfinite(e.value)]
    if not known:
        return decision.finding
    if len(known) == 1:
        e = known[0]
        interval = f" [{number(e.low)}, {number(e.high)}]" if e.n and math.isfinite(e.low) else ""
        return f"{number(e.value)}{interval}{f', n = {e.n}' if e.n else ''}"
    if len(known) <= 3:
        return "; ".join(number(e.value) for e in known)
    low, high = min(e.value for e in known), max(e.value for e in known)
    if low == high:
        return f"{number(low)} ({len(known)} values)"
    return f"{number(low)} to {number(high)} ({len(known)} values)"


def lay_out(decisions: Sequence[Decision], run: str) -> layout.Table:
    """Lay out the verdicts, one row for each claim."""
    notes = (
        f"Run: {run}. {summary(decisions)}.",
        "Intervals are 95 % intervals over replicate seeds. docs/claims.md says how a claim is decided.",
    )
    return layout.Table(
        title="The paper's claims and what these results say about them.",
        columns=["Claim", "Page", "What the paper says", "In print", "Found", "Verdict", "Why"],
        rows=[
            [
                d.claim.id,
                str(d.claim.page),
                d.claim.says,
                d.claim.value,
                shown(d),
                d.verdict,
                f"{d.reason} {_capital(d.finding)}".strip(),
            ]
            for d in decisions
        ],
        exact_columns=[
            *_ABOUT,
            *("figures", "verdict", "reason", "finding"),
            *("numbers", "estimate", "sd", "n", "low", "high"),
            *("cells", "missing"),
        ],
        exact_rows=[
            [
                *(getattr(d.claim, name) for name in _ABOUT),
                " ".join(d.claim.figures),
                d.verdict,
                d.reason,
                d.finding,
                len(d.evidence),
                *_only(d),
                len(d.cells),
                len(d.missing),
            ]
            for d in decisions
        ],
        notes=notes,
        widths=(0.085, 0.07, 0.215, 0.13, 0.14, 0.13, 0.23),
    )


def _only(decision: Decision) -> list[float | str]:
    if len(decision.evidence) != 1:
        return [""] * 5
    e = decision.evidence[0]
    return [e.value, e.sd, float(e.n), e.low, e.high]


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
