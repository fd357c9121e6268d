"""``bnonly compare --across KEY``: what a value of the configuration changes, everything else being equal.

Two trainings are compared if their cells differ in that value alone; seeds and the names of regimes and architectures do
not count.  Differences are paired by seed, so the spread between seeds cancels.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnonly.commands.comparison import Interval, Run, Side, interval
from bnonly.errors import UserError, accepted

#: What tells replicates apart, or only names things.
_NOT_COMPARED = ("seed", "architecture.name", "regime.name")


@dataclass(frozen=True)
class Row:
    """The replicates with one value of the key.

    Attributes
    ----------
    architecture, regime : str
        Their names, joined with "/" where a comparison has several.
    value : object
        The value of the key.
    runs, diverged : int
        Replicates, and those that diverged.
    top1 : float
        Mean final test accuracy, as a fraction of 1.
    sd : float or None
        Its standard deviation; None for a single run.
    pairs : int
        Replicates whose seed the comparison's first row has too.
    difference : Interval or None
        Of accuracy against the first row; None in the first row, and without pairs.
    """

    architecture: str
    regime: str
    value: Any
    runs: int
    diverged: int
    top1: float
    sd: float | None
    pairs: int = 0
    difference: Interval | None = None


@dataclass(frozen=True)
class Across:
    """The result of `across`: the rows of each comparison, and the number of runs that have no counterpart."""

    key: str
    confidence: float
    comparisons: list[list[Row]]
    alone: int


def across(sides: Sequence[Side], key: str, confidence: float = 0.95) -> Across:
    """Compare the trainings of some runs that differ in one value.

    Parameters
    ----------
    sides : sequence of Side
        From `bnonly.commands.comparison.read_side`; a training that several of them have counts once.
    key : str
        Place of the value in a cell, for example ``recipe.lr``.
    confidence : float
        Confidence level of the intervals.

    Raises
    ------
    UserError
        If cells have no such key, or no two trainings differ in it alone, or such trainings had different data.
    """
    runs = {run.cell.digest(): run for side in reversed(sides) for run in side.runs.values()}
    flat = {digest: _flat(dataclasses.asdict(run.cell)) for digest, run in sorted(runs.items())}
    # Cells differ in their values if only one of them describes a data set of its own.
    known = list(dict.fromkeys(k for values in flat.values() for k in values if k not in _NOT_COMPARED))
    if key not in known:
        spelt = next((k for k in known if k.endswith(f".{key}")), key)
        raise UserError(f"--across {key}: trainings have no such value; {accepted(spelt, known)}")
    groups: dict[str, dict[str, dict[int, Run]]] = {}
    for digest, values in flat.items():
        rest = json.dumps({k: v for k, v in values.items() if k not in (*_NOT_COMPARED, key)})
        replicates = groups.setdefault(rest, {}).setdefault(json.dumps(values.get(key)), {})
        replicates.setdefault(runs[digest].cell.seed, runs[digest])
    compared = [by_value for by_value in groups.values() if len(by_value) > 1]
    if not compared:
        raise UserError(f"--across {key}: {_why_not(list(flat.values()), key)}")
    found = [_rows(by_value, key, confidence) for by_value in compared]
    found.sort(key=lambda rows: (rows[0].architecture, rows[0].regime))
    alone = sum(len(seeds) for group in groups.values() if len(group) == 1 for seeds in group.values())
    return Across(key, confidence, found, alone)


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _why_not(cells: list[dict[str, Any]], key: str) -> str:
    """Return why no two trainings can be compared: the value is always the same, or something else differs too."""
    first = cells[0]
    others = [c for c in cells if c.get(key) != first.get(key)]
    if not others:
        return f"is {_text(first.get(key))} in every training; name runs that differ in it"
    differing = [[k for k in c if c[k] != first.get(k) and k not in (*_NOT_COMPARED, key)] for c in others]
    return f"no two trainings differ in it alone; the nearest also differ in {', '.join(min(differing, key=len)[:5])}"


def _rows(by_value: Mapping[str, Mapping[int, Run]], key: str, confidence: float) -> list[Row]:
    everything = [run for seeds in by_value.values() for run in seeds.values()]
    if key != "recipe.dataset" and len({run.data_sha256 for run in everything}) > 1:
        raise UserError(
            f"--across {key}: {everything[0].cell} and its counterparts were trained on different data called "
            f"{everything[0].cell.recipe.dataset}; compare runs on the same data"
        )
    architecture = _joined(run.cell.architecture.name for run in everything)
    regime = _joined(run.cell.regime.name for run in everything)
    values = sorted(by_value, key=lambda text: (isinstance(value := json.loads(text), str | list), value or 0))
    first = by_value[values[0]]
    rows = []
    for value in values:
        seeds = by_value[value]
        top1 = [run.top1 for run in seeds.values()]
        pairs = [run.top1 - first[seed].top1 for seed, run in seeds.items() if seed in first and seeds is not first]
        rows.append(
            Row(
                architecture,
                regime,
                json.loads(value),
                len(seeds),
                sum(run.diverged for run in seeds.values()),
                statistics.fmean(top1),
                statistics.stdev(top1) if len(top1) > 1 else None,
                len(pairs),
                interval(pairs, confidence) if pairs else None,
            )
        )
    return rows


def _joined(names: Iterable[str]) -> str:
    return "/".join(sorted(set(names)))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_text(found: Across) -> str:
    """Return a table for a terminal; accuracies in percent, differences in percentage points."""
    names = [f"{rows[0].architecture} {rows[0].regime}" for rows in found.comparisons]
    wide = max(len(_text(row.value)) for rows in found.comparisons for row in rows)
    wide, width = max(wide, len(found.key)), max(map(len, names))
    percent = f"{100 * found.confidence:g}% interval"
    lines = [f"{'':<{width}} {found.key:>{wide}} {'runs':>5} {'accuracy':>8} {'sd':>6} {'change':>7}  {percent}"]
    for name, rows in zip(names, found.comparisons, strict=True):
        for row in rows:
            sd = f"{100 * row.sd:.2f}" if row.sd is not None else "-"
            change, bounds = "-", ""
            if row.difference:
                change = f"{100 * row.difference.mean:+.2f}"
                if row.difference.low is not None and row.difference.high is not None:
                    bounds = f"[{100 * row.difference.low:+.2f}, {100 * row.difference.high:+.2f}]"
            diverged = f" ({row.diverged} diverged)" if row.diverged else ""
            line = (
                f"{name:<{width}} {_text(row.value):>{wide}} {row.runs:>5} {100 * row.top1:>8.2f} {sd:>6} {change:>7}"
            )
            lines.append(f"{line}  {bounds}{diverged}".rstrip())
            name = ""
    lines += [
        "",
        f"Final test accuracy in %; change against the first {found.key} of the same network, in points, from pairs with the same seed.",
    ]
    if found.alone:
        lines.append(f"{found.alone} other trainings have no counterpart with another {found.key}.")
    return "\n".join(lines)
