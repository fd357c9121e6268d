"""``bnonly compare``: folders of results side by side, as text, JSON or CSV."""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnonly.commands import setup
from bnonly.commands.across import Across, across
from bnonly.commands.across import as_text as across_as_text
from bnonly.commands.comparison import Comparison, Interval, Row, Side, compare, read_side
from bnonly.errors import UserError


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands,
        "compare",
        run_compare,
        "compare two folders of results cell by cell, or trainings that differ in one value",
        tells=True,
    )
    parser.epilog = "Exit status: 0 if nothing differs, 1 if something differs (with --strict, also if undecided), 2 if not comparable."
    parser.add_argument(
        "folder",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="a run's folder, or the results folder in it; exactly two without --across",
    )
    parser.add_argument(
        "--across",
        metavar="KEY",
        help="instead, compare trainings in these folders that differ only in this value, for example recipe.lr",
    )
    parser.add_argument(
        "--tolerance",
        type=setup.between(0, 100),
        default=0.5,
        metavar="POINTS",
        help="largest difference of test accuracy that counts as agreement, in points (default: 0.5)",
    )
    parser.add_argument(
        "--confidence",
        type=setup.between(0, 1),
        default=0.95,
        metavar="P",
        help="confidence level of the intervals (default: 0.95)",
    )
    parser.add_argument("--strict", action="store_true", help="count undecided rows as differences")
    parser.add_argument(
        "--across-engines", action="store_true", help="allow A and B to have different engines or precisions"
    )
    parser.add_argument(
        "--cells",
        action="append",
        default=[],
        metavar="PATTERN",
        help="compare only matching cells, for example 'ResNet-14/*/seed0'; may be repeated",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "csv"), default="text", help="output format (default: text)"
    )


def run_compare(options: argparse.Namespace) -> int:
    """Compare folders of results; return 1 where two differ."""
    if len(options.folder) != 2 and not options.across:
        raise UserError(
            f"compare takes two folders (got {len(options.folder)}); with --across KEY it takes one or more"
        )
    sides = [read_side(folder, chosen(options.cells)) for folder in options.folder]
    form = "json" if options.json else options.format
    if options.across:
        print(ACROSS[form](across(sides, options.across, options.confidence)))
        return 0
    a, b = sides
    found = compare(a, b, options.tolerance / 100, options.confidence, options.across_engines)
    print(FORMATS[form](found, options.strict))
    return int(found.verdict(options.strict) == "differs")


def as_json(found: Comparison, strict: bool = False) -> str:
    """Return a comparison as JSON; accuracies are fractions of 1."""
    sides = {
        name: {
            "folder": str(s.folder),
            "engine": s.engine,
            "cells": len(s.runs),
            "devices": sorted({r.device for r in s.runs.values()}),
        }
        for name, s in (("a", found.a), ("b", found.b))
    }
    content = {
        **sides,
        "tolerance": found.tolerance,
        "confidence": found.confidence,
        "verdict": found.verdict(strict),
        "overall": asdict(found.overall),
        "rows": [asdict(r) for r in found.rows],
        "only_in_a": found.alone_a,
        "only_in_b": found.alone_b,
    }
    return setup.to_json(content)


def as_csv(found: Comparison) -> str:
    """Return the rows as CSV, the overall row last; accuracies are fractions of 1."""
    return _csv([_flat(row) for row in (*found.rows, found.overall)])


def _csv(flat: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue().rstrip("\n")


def _flat(row: Row) -> dict[str, Any]:
    loss = row.loss or Interval(math.nan, None, None)
    return {
        "architecture": row.architecture or "all",
        "regime": row.regime or "all",
        "pairs": row.pairs,
        "identical": row.identical,
        "top1_a": row.top1_a,
        "top1_b": row.top1_b,
        **{f"top1_{k}": v for k, v in (("difference", row.top1.mean), ("low", row.top1.low), ("high", row.top1.high))},
        **{f"loss_{k}": v for k, v in (("difference", loss.mean), ("low", loss.low), ("high", loss.high))},
        "diverged_a": row.diverged_a,
        "diverged_b": row.diverged_b,
        "verdict": row.verdict,
    }


def as_text(found: Comparison, strict: bool = False) -> str:
    """Return a comparison as a table for a terminal; accuracies in percent, differences in percentage points."""
    percent, width = f"{100 * found.confidence:g}%", 11
    names = [f"{r.architecture} {r.regime}" for r in found.rows] + ["all pairs"]
    width = max(width, *map(len, names))
    lines = [_describe("A", found.a), _describe("B", found.b), ""]
    lines.append(
        f"{'':<{width}} {'pairs':>5} {'same':>5} {'A':>7} {'B':>7} {'B - A':>7}  {percent + ' interval':<18}{'loss B - A':>11}  verdict"
    )
    for name, row in zip(names, (*found.rows, found.overall), strict=True):
        bounds = (
            ""
            if row.top1.low is None or row.top1.high is None
            else f"[{100 * row.top1.low:+.2f}, {100 * row.top1.high:+.2f}]"
        )
        loss = f"{row.loss.mean:+.4f}" if row.loss else "-"
        diverged = f" (diverged: {row.diverged_a} and {row.diverged_b})" if row.diverged_a or row.diverged_b else ""
        lines.append(
            f"{name:<{width}} {row.pairs:>5} {row.identical:>5} {100 * row.top1_a:>7.2f} {100 * row.top1_b:>7.2f} {100 * row.top1.mean:>+7.2f}  "
            f"{bounds:<18}{loss:>11}  {row.verdict}{diverged}"
        )
    count = Counter(r.verdict for r in found.rows)
    lines += [
        "",
        f"Test accuracy in %, differences in points, intervals from Student's t over pairs with the same seed. Within {100 * found.tolerance:g} points: "
        f"{count['agrees']} of {len(found.rows)} agree, {count['differs']} differ, {count['undecided']} undecided (too few pairs, or an interval that is too wide).",
        "'differs' means that the interval, corrected for the number of rows, lies outside the tolerance; 'same' are pairs equal to the bit.",
    ]
    if found.a.engine != found.b.engine:
        lines.append(f"The engines differ: A is {found.a.engine}, B is {found.b.engine}.")
    for name, cells in (("A", found.alone_a), ("B", found.alone_b)):
        if cells:
            lines.append(f"Only in {name}: {len(cells)} cells, for example {cells[0]}")
    lines.append("A and B agree." if found.verdict(strict) == "agrees" else "A and B differ.")
    return "\n".join(lines)


def _describe(name: str, side: Side) -> str:
    devices = sorted({r.device for r in side.runs.values()})
    return f"{name}: {side.folder}, {len(side.runs)} cells, engine {side.engine}, on {', '.join(devices)}"


FORMATS: dict[str, Callable[[Comparison, bool], str]] = {
    "text": as_text,
    "json": as_json,
    "csv": lambda found, strict: as_csv(found),
}


def _across_csv(found: Across) -> str:
    rows = [asdict(row) for rows in found.comparisons for row in rows]
    return _csv([{k: v for k, v in r.items() if k != "difference"} | _bounds(r["difference"]) for r in rows])


def _bounds(difference: dict[str, float | None] | None) -> dict[str, float | None]:
    return {f"difference_{name}": (difference or {}).get(name) for name in ("mean", "low", "high")}


ACROSS: dict[str, Callable[[Across], str]] = {
    "text": across_as_text,
    "json": lambda found: setup.to_json(asdict(found)),
    "csv": _across_csv,
}


def chosen(cells: Iterable[str]) -> list[str]:
    """Return patterns of cells as `read_side` expects them: without leading ``results/`` and trailing ``/``."""
    return [c.removeprefix("results/").rstrip("/") for c in cells]
