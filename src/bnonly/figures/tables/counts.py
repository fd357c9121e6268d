"""Exact parameter counts, and their form in the paper's tables (standard library only)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path

from bnonly.errors import UserError
from bnonly.figures.needs import Architecture, Panel
from bnonly.figures.tables.layout import Table
from bnonly.grid.families import FAMILIES
from bnonly.results import atomic

Counts = Mapping[str, Mapping[str, int]]

#: Rows of Table 1 and of Appendix C.1's table, and the columns of ``results/counts.csv``.
PARTS = {"Total": "total", "BatchNorm": "batchnorm", "Output": "output", "Shortcut": "shortcut"}


def read(path: Path) -> dict[str, dict[str, int]]:
    """Read ``results/counts.csv``.

    Returns
    -------
    dict
        By architecture: total, batchnorm, output and shortcut.

    Raises
    ------
    UserError
        If the file is missing or lacks the columns.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(atomic.read(path).decode(), newline="")))
        return {row["architecture"]: {part: int(row[part]) for part in PARTS.values()} for row in rows}
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror or problem}; make it with: bnonly counts") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise UserError(f"{path}: not a table of parameter counts; delete it and run: bnonly counts") from None


def short(count: int, decimals: int | None = None) -> str:
    """Return a count in the paper's form: ``650``, ``8.29K``, ``1.73M``.

    Parameters
    ----------
    count : int
        The count.
    decimals : int, optional
        Number of decimals; by default, three significant digits.  Ties are rounded up, as in the paper's 10.3K for 10,250.
    """
    if count < 1000:
        return str(count)
    text = _rounded(Decimal(count) / 1_000, decimals)
    if Decimal(text) < 1000:
        return f"{text}K"
    return f"{_rounded(Decimal(count) / 1_000_000, decimals)}M"


def _rounded(value: Decimal, decimals: int | None) -> str:
    if decimals is None:
        value = Context(prec=3, rounding=ROUND_HALF_UP).plus(value)
        decimals = max(0, 2 - value.adjusted())
    return str(value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def percentage(part: int, total: int) -> str:
    """Return a share in percent with two decimals."""
    return f"{(Decimal(100 * part) / total).quantize(Decimal('0.01'), ROUND_HALF_UP)}%"


def build(panels: tuple[Panel, ...], counts: Counts, title: str, parts: tuple[str, ...], decimals: int | None) -> Table:
    """Lay out counts and shares, one column for each architecture.

    Parameters
    ----------
    panels : tuple of Panel
        The families, side by side.
    counts : mapping
        The result of `read`.
    title : str
        The table's title.
    parts : tuple of str
        Keys of `PARTS`; shares follow for all but the first.
    decimals : int, optional
        Decimals of the printed counts.

    Raises
    ------
    UserError
        If the counts lack an architecture.
    """
    shown = [(panel, architecture) for panel in panels for architecture in panel.architectures]
    for _, architecture in shown:
        if architecture.name not in counts:
            raise UserError(f"results/counts.csv has no {architecture.name}; make it again with: bnonly counts")
    exact = [counts[a.name] for _, a in shown]
    rows = [
        ["Depth", *(str(a.depth) for _, a in shown)],
        ["Width scale", *(f"{_width(a):g}" for _, a in shown)],
        *([part, *(short(c[PARTS[part]], decimals) for c in exact)] for part in parts),
        *([f"{part} (%)", *(percentage(c[PARTS[part]], c["total"]) for c in exact)] for part in parts[1:]),
    ]
    keys = [PARTS[part] for part in parts]
    return Table(
        title=title,
        groups=tuple((panel.axis_title, len(panel.architectures)) for panel in panels),
        grouped_by="Family",
        columns=["", *(panel.short_name(a) for panel, a in shown)],
        rows=rows,
        rules=(2, 2 + len(parts)),
        exact_columns=[
            "panel",
            "family",
            "architecture",
            "depth",
            "width_scale",
            *keys,
            *(f"{k}_percent" for k in keys[1:]),
        ],
        exact_rows=[
            [
                p.experiment,
                p.axis_title,
                a.name,
                a.depth,
                _width(a),
                *(c[k] for k in keys),
                *(100 * c[k] / c["total"] for k in keys[1:]),
            ]
            for (p, a), c in zip(shown, exact, strict=True)
        ],
    )


def _width(architecture: Architecture) -> float:
    return architecture.channels / FAMILIES[architecture.family].channels
