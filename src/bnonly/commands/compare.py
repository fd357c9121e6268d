"""Two folders of results side by side: are they the same results, within a tolerance? (``bnonly compare``)

Runs are paired by cell, so that the difference of two replicates with the same seed counts and the spread between seeds
does not.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.commands import setup
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, Key, differences, parse_cell
from bnonly.results import parquet

if TYPE_CHECKING:
    from bnonly.commands.setup import Commands

#: Columns of the metrics that say what was learned, not how fast.
LEARNED = ("epoch", "iteration", "lr", "train_loss", "train_top1", "test_loss", "test_top1", "test_top5")
VERDICTS = ("agrees", "differs", "undecided")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands,
        "compare",
        run_compare,
        "compare two folders of results, paired by cell: status 0 agree, 1 differ, 2 cannot",
    )
    parser.add_argument("a", type=Path, metavar="A", help="a run's folder, or its results")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    parser.add_argument(
        "--tolerance",
        type=setup.between(0, 100),
        default=0.5,
        metavar="POINTS",
        help="of test accuracy in %% (default: 0.5)",
    )
    parser.add_argument(
        "--confidence", type=setup.between(0, 1), default=0.95, metavar="P", help="of the intervals (0.95)"
    )
    parser.add_argument("--strict", action="store_true", help="what is undecided counts as a difference")
    parser.add_argument(
        "--across-engines", action="store_true", help="A and B may be of different engines or precisions"
    )
    parser.add_argument(
        "--cells", action="append", default=[], metavar="PATTERN", help="only these: 'ResNet-14/*/seed0'"
    )
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text", help="of the output")


def run_compare(options: argparse.Namespace) -> int:
    """Compare two folders of results; return 1 where they differ."""
    cells = chosen(options.cells)
    a, b = read_side(options.a, cells), read_side(options.b, cells)
    found = compare(a, b, options.tolerance / 100, options.confidence, options.across_engines)
    print(FORMATS[options.format](found, options.strict))
    return int(found.verdict(options.strict) == "differs")


@dataclass(frozen=True)
class Run:
    """The end of one cell: test accuracy as a share of 1, loss in nats, and what it was."""

    cell: Cell
    top1: float
    loss: float
    diverged: bool
    data_sha256: str
    device: str
    epochs: tuple[tuple[float, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class Side:
    """One folder: its runs by key, its engine and precision."""

    folder: Path
    runs: dict[Key, Run]
    engine: str


@dataclass(frozen=True)
class Interval:
    """A mean of paired differences, B minus A, with its confidence interval; no bounds if there is one pair."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """Replicates of one architecture and regime, or everything.

    Attributes
    ----------
    architecture, regime : str
        Both empty for everything.
    pairs, identical : int
        Pairs; those whose every epoch is the same to the bit.
    top1_a, top1_b : float
        Mean test accuracies, as shares of 1.
    top1, loss : Interval
        Differences; of losses those of pairs where both are finite, None if there are none.
    diverged_a, diverged_b : int
        Runs that diverged.
    verdict : str
        One of `VERDICTS`.
    """

    architecture: str
    regime: str
    pairs: int
    identical: int
    top1_a: float
    top1_b: float
    top1: Interval
    loss: Interval | None
    diverged_a: int
    diverged_b: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `alone_a` and `alone_b` are the cells that only one side has."""

    a: Side
    b: Side
    tolerance: float
    confidence: float
    rows: list[Row]
    overall: Row
    alone_a: list[str]
    alone_b: list[str]

    def verdict(self, strict: bool = False) -> str:
        """Return "differs" if anything does (with `strict`: if anything is not known to agree), else "agrees"."""
        bad = VERDICTS[1:] if strict else VERDICTS[1:2]
        return "differs" if any(r.verdict in bad for r in (*self.rows, self.overall)) else "agrees"


def read_side(folder: Path, only: Sequence[str] = ()) -> Side:
    """Read one side.

    Parameters
    ----------
    folder : Path
        A run's folder, or the ``results`` in it.
    only : sequence of str
        Patterns of cells, for example ``ResNet-14/*/seed0``; none: all.

    Raises
    ------
    UserError
        If there are no results, one is damaged, or they are a mixture: of engines or precisions, of protocols, of
        specifications among the replicates of one cell, of data under one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a run's folder or its results")
    results = folder / paths.RESULTS if (folder / paths.RESULTS).is_dir() else folder
    runs: dict[Key, Run] = {}
    for path in sorted(results.glob("*/*/seed*/metrics.parquet")):
        name = "/".join(path.parts[-4:-1])
        if only and not any(fnmatchcase(name, pattern) for pattern in only):
            continue
        run = _read(path)
        if str(run.cell) != name:
            raise UserError(f"{path}: is of {run.cell}; move it to its own folder")
        runs[run.cell.key] = run
    if not runs:
        raise UserError(
            f"{folder}: has no {'such ' if only else ''}results (ARCHITECTURE/REGIME/seedN/metrics.parquet); train or import some"
        )
    engines = Counter(f"{r.cell.engine} {r.cell.precision}" for r in runs.values())
    _refuse(folder, "engines or precisions", engines, "compare two folders with one each, or choose cells with --cells")
    _refuse(folder, "protocols", Counter(str(r.cell.protocol) for r in runs.values()), "train the older cells again")
    for dataset in {r.cell.recipe.dataset for r in runs.values()}:
        sums = Counter(r.data_sha256[:12] for r in runs.values() if r.cell.recipe.dataset == dataset)
        _refuse(folder, f"different data called {dataset}", sums, "train them on the same data")
    first: dict[tuple[str, str], Run] = {}
    for (a, r, _), run in runs.items():
        other = first.setdefault((a, r), run)
        if _plain(run.cell, seed=0) != _plain(other.cell, seed=0):
            what = differences(_plain(run.cell, seed=0), _plain(other.cell, seed=0), f"seed {other.cell.seed}'s")
            raise UserError(
                f"{folder}: the replicates of {a}/{r} are a mixture ({what}, at seed {run.cell.seed}); train one of them again"
            )
    return Side(folder, runs, next(iter(engines)))


def _refuse(folder: Path, what: str, found: Counter[str], remedy: str) -> None:
    if len(found) > 1:
        parts = ", ".join(f"{n} cells {value}" for value, n in found.most_common())
        raise UserError(f"{folder}: mixes {what} ({parts}); {remedy}")


def _read(path: Path) -> Run:
    table, label = parquet.read(path, "metrics")
    columns = [table[name].to_pylist() for name in LEARNED]
    if not table.num_rows:
        raise UserError(f"{path}: has no epochs; train the cell again")
    try:
        cell = parse_cell(json.dumps(label.get("cell"), sort_keys=True, separators=(",", ":")))
    except UserError:
        raise UserError(f"{path}: was made by another version of bnonly; train the cell again") from None
    return Run(
        cell,
        columns[LEARNED.index("test_top1")][-1],
        columns[LEARNED.index("test_loss")][-1],
        label.get("status") == "diverged",
        str(data.get("sha256", "")) if isinstance(data := label.get("data"), dict) else "",
        str(label.get("device_name", "")),
        tuple(zip(*columns, strict=True)),
    )


def _plain(cell: Cell, **changes: Any) -> str:
    """Return a cell's JSON without what two sides may differ in."""
    node = json.loads(cell.canonical())
    node.pop("engine", None)
    node.pop("precision", None)
    return json.dumps({**node, **changes}, sort_keys=True, separators=(",", ":"))


def compare(
    a: Side, b: Side, tolerance: float = 0.005, confidence: float = 0.95, across_engines: bool = False
) -> Comparison:
    """Compare two sides, paired by cell.

    Parameters
    ----------
    a, b : Side
        From `read_side`.
    tolerance : float
        Difference of test accuracy, as a share of 1, that does not matter.
    confidence : float
        Of the intervals.
    across_engines : bool
        Whether the sides may be of different engines or precisions.

    Raises
    ------
    UserError
        If the sides have no cell in common, or a cell is another training: other data, protocol, recipe, network or
        regime.
    """
    if a.engine != b.engine and not across_engines:
        raise UserError(
            f"{a.folder} is of engine {a.engine}, {b.folder} of {b.engine}; to compare engines, say so with --across-engines"
        )
    keys = [k for k in a.runs if k in b.runs]
    if not keys:
        raise UserError(f"{a.folder} and {b.folder}: have no cell in common; {_examples(a)}; {_examples(b)}")
    for key in keys:
        _check_pair(a, b, a.runs[key], b.runs[key])
    groups: dict[tuple[str, str], list[tuple[Run, Run]]] = {}
    for key in keys:
        groups.setdefault(key[:2], []).append((a.runs[key], b.runs[key]))
    rows = [_row(*name, pairs, tolerance, confidence, len(groups)) for name, pairs in sorted(groups.items())]
    overall = _row("", "", [p for pairs in groups.values() for p in pairs], tolerance, confidence, 1)
    alone = [[str(k) for k in x.runs if k not in y.runs] for x, y in ((a, b), (b, a))]
    return Comparison(a, b, tolerance, confidence, rows, overall, *alone)


def _examples(side: Side) -> str:
    return f"{side.folder} has {next(iter(side.runs.values())).cell}" + (
        f" and {len(side.runs) - 1} more" if len(side.runs) > 1 else ""
    )


def _check_pair(a: Side, b: Side, one: Run, other: Run) -> None:
    where = f"{a.folder} and {b.folder}: {one.cell}"
    if one.cell.recipe.dataset != other.cell.recipe.dataset:
        raise UserError(
            f"{where} was trained on {one.cell.recipe.dataset} and on {other.cell.recipe.dataset}; compare runs on one data set"
        )
    if one.data_sha256 != other.data_sha256:
        raise UserError(
            f"{where} was trained on different data called {one.cell.recipe.dataset}; compare runs on the same"
        )
    if _plain(one.cell) != _plain(other.cell):
        what = differences(_plain(one.cell), _plain(other.cell), f"{b.folder}'s")
        raise UserError(f"{where} is not the same training ({what}); compare runs of one configuration")


def _row(
    architecture: str,
    regime: str,
    pairs: list[tuple[Run, Run]],
    tolerance: float,
    confidence: float,
    groups: int,
) -> Row:
    top1 = [y.top1 - x.top1 for x, y in pairs]
    losses = [y.loss - x.loss for x, y in pairs if math.isfinite(x.loss) and math.isfinite(y.loss)]
    shown = _interval(top1, confidence)
    # Of a hundred architectures and regimes five would seem to differ by chance: Bonferroni's correction for saying so.
    careful = _interval(top1, 1 - (1 - confidence) / groups)
    return Row(
        architecture,
        regime,
        len(pairs),
        sum(_same(x.epochs, y.epochs) for x, y in pairs),
        statistics.fmean(x.top1 for x, _ in pairs),
        statistics.fmean(y.top1 for _, y in pairs),
        shown,
        _interval(losses, confidence) if losses else None,
        sum(x.diverged for x, _ in pairs),
        sum(y.diverged for _, y in pairs),
        _verdict(shown, careful, tolerance),
    )


def _same(x: tuple[tuple[float, ...], ...], y: tuple[tuple[float, ...], ...]) -> bool:
    return repr(x) == repr(y)  # NaN of epoch 0 included


def _interval(values: Sequence[float], confidence: float) -> Interval:
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, None, None)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def _verdict(shown: Interval, careful: Interval, tolerance: float) -> str:
    slack = tolerance + 1e-12  # 0.005 as a difference of two accuracies is not exactly that
    if shown.low is None or shown.high is None or careful.low is None or careful.high is None:
        return "agrees" if abs(shown.mean) <= slack else "undecided"
    if careful.low > slack or careful.high < -slack:
        return "differs"
    return "agrees" if -slack <= shown.low and shown.high <= slack else "undecided"


def as_json(found: Comparison, strict: bool = False) -> str:
    """Return a comparison as JSON; accuracies are shares of 1."""
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
    return json.dumps(_finite(content), indent=1)


def _finite(node: Any) -> Any:
    """Replace what JSON does not have."""
    if isinstance(node, dict):
        return {k: _finite(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(v) for v in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def as_csv(found: Comparison) -> str:
    """Return the rows as CSV, the last one over everything; accuracies are shares of 1."""
    flat = [_flat(row) for row in (*found.rows, found.overall)]
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
        f"{count['agrees']} of {len(found.rows)} agree, {count['differs']} differ, {count['undecided']} undecided (too few pairs or too wide).",
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


def chosen(cells: Iterable[str]) -> list[str]:
    """Return patterns of cells as `read_side` wants them: without ``results/`` before and ``/`` behind."""
    return [c.removeprefix("results/").rstrip("/") for c in cells]
