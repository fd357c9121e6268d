"""Compare two folders of results within a tolerance.

Runs are paired by cell.  The two replicates of a pair have the same seed, so the spread between seeds cancels.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnonly.errors import UserError
from bnonly.grid.cell import Cell, Key, differences
from bnonly.results import cells

#: Columns of the metrics that measure learning, not speed.
LEARNED = ("epoch", "iteration", "lr", "train_loss", "train_top1", "test_loss", "test_top1", "test_top5")
VERDICTS = ("agrees", "differs", "undecided")


@dataclass(frozen=True)
class Run:
    """The end of one cell: test accuracy as a fraction of 1, loss in nats, and its identity."""

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
    """A mean of paired differences, B minus A, with its confidence interval; a single pair has no bounds."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """Replicates of one architecture and regime, or the overall row.

    Attributes
    ----------
    architecture, regime : str
        Both empty in the overall row.
    pairs, identical : int
        Number of pairs; number of pairs equal to the bit in every epoch.
    top1_a, top1_b : float
        Mean test accuracies, as fractions of 1.
    top1, loss : Interval
        Differences; the loss uses the pairs with two finite losses, None without any.
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
    """The result of `compare`; `alone_a` and `alone_b` are the cells of one side only."""

    a: Side
    b: Side
    tolerance: float
    confidence: float
    rows: list[Row]
    overall: Row
    alone_a: list[str]
    alone_b: list[str]

    def verdict(self, strict: bool = False) -> str:
        """Return "differs" if any row differs (with `strict`: if any row is not known to agree), else "agrees"."""
        bad = VERDICTS[1:] if strict else VERDICTS[1:2]
        return "differs" if any(r.verdict in bad for r in (*self.rows, self.overall)) else "agrees"


def read_side(folder: Path, only: Sequence[str] = ()) -> Side:
    """Read one side of the comparison.

    Parameters
    ----------
    folder : Path
        A run's folder, or the ``results`` in it.
    only : sequence of str
        Patterns of cells, for example ``ResNet-14/*/seed0``; all cells if empty.

    Raises
    ------
    UserError
        If there are no results, a result is damaged, or the results are mixed: several engines, precisions or
        protocols, replicates of one cell with different specifications, or one data set's name for different data.
    """
    runs = {run.cell.key: run for run in map(_read, cells.find(folder, only))}
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
    table, label, cell = cells.read(path)
    columns = [table[name].to_pylist() for name in LEARNED]
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
    """Return a cell's JSON without the entries in which two sides may differ."""
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
        Difference of test accuracy, as a fraction of 1, that counts as agreement.
    confidence : float
        Confidence level of the intervals.
    across_engines : bool
        Whether the sides may have different engines or precisions.

    Raises
    ------
    UserError
        If the sides have no cell in common, or a common cell differs in data, protocol, recipe, network or regime.
    """
    if a.engine != b.engine and not across_engines:
        raise UserError(
            f"{a.folder} used engine {a.engine}, {b.folder} used {b.engine}; to compare engines, add --across-engines"
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
            f"{where} was trained on different data called {one.cell.recipe.dataset}; compare runs on the same data"
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
    shown = interval(top1, confidence)
    # Of a hundred rows, five would differ by chance at 95%: Bonferroni's correction applies to "differs".
    careful = interval(top1, 1 - (1 - confidence) / groups)
    return Row(
        architecture,
        regime,
        len(pairs),
        sum(_same(x.epochs, y.epochs) for x, y in pairs),
        statistics.fmean(x.top1 for x, _ in pairs),
        statistics.fmean(y.top1 for _, y in pairs),
        shown,
        interval(losses, confidence) if losses else None,
        sum(x.diverged for x, _ in pairs),
        sum(y.diverged for _, y in pairs),
        _verdict(shown, careful, tolerance),
    )


def _same(x: tuple[tuple[float, ...], ...], y: tuple[tuple[float, ...], ...]) -> bool:
    return repr(x) == repr(y)  # repr also compares the NaN of epoch 0


def interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the mean of paired differences with its interval from Student's t."""
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, None, None)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def _verdict(shown: Interval, careful: Interval, tolerance: float) -> str:
    slack = tolerance + 1e-12  # in floating point, a difference of two accuracies is not exactly 0.005
    if shown.low is None or shown.high is None or careful.low is None or careful.high is None:
        return "agrees" if abs(shown.mean) <= slack else "undecided"
    if careful.low > slack or careful.high < -slack:
        return "differs"
    return "agrees" if -slack <= shown.low and shown.high <= slack else "undecided"
