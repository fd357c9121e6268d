"""Learning curves: accuracy by epoch of every network and regime, as paths of small drawings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.results import parquet
from bnonly.verdicts.measure import Measurements

#: Size of a drawing in its own units; accuracy 0 to 100 % is its height.
WIDTH, HEIGHT = 160, 90
#: Number of points of a curve: enough for its width.
MOST = 81


@dataclass(frozen=True)
class Curve:
    """Mean accuracy of the runs of a network under a regime, from epoch to epoch.

    Attributes
    ----------
    id : str
        The drawing's id in the page.
    test, train : str
        Paths (SVG); `train` uses the augmented images of the training.
    epochs : int
        Length of the x axis.
    final : str
        Test accuracy at the end in percent.
    text : str
        The curve in words.
    """

    id: str
    test: str
    train: str
    epochs: int
    final: str
    text: str


def curves(measured: Measurements) -> dict[tuple[str, str], Curve]:
    """Return the learning curve of each network under each regime that has finished runs."""
    runs: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in measured.labels:
        runs[key[:2]].append(key)
    found = {}
    for (architecture, regime), keys in runs.items():
        if curve := _curve(f"curve-{architecture}-{regime}", f"{architecture}/{regime}", keys, measured.root):
            found[architecture, regime] = curve
    return found


def case_studies(grid: Grid, found: dict[tuple[str, str], Curve]) -> list[dict[str, Any]]:
    """Return the curves of each experiment's case study, one for each regime."""
    out = []
    for experiment in grid.experiments.values():
        folder = grid.aliases.get(experiment.case_study, experiment.case_study)
        shown = [(grid.regime_labels[r], found[folder, r]) for r in experiment.regimes if (folder, r) in found]
        if shown:
            label = grid.architecture_labels[experiment.case_study]
            out.append({"title": f"{experiment.title}: {label}", "curves": shown})
    return out


def _curve(name: str, what: str, keys: Sequence[Key], root: Path) -> Curve | None:
    columns = []
    for key in keys:
        try:
            metrics, _ = parquet.read(root / paths.metrics(key.folder), "metrics")
        except UserError:  # damaged since it was judged; the list of failures names it
            continue
        columns.append({c: metrics.column(c).to_pylist() for c in ("epoch", "test_top1", "train_top1")})
    if not columns:
        return None
    epochs = max(int(c["epoch"][-1]) for c in columns)
    test, train = (_mean(columns, c) for c in ("test_top1", "train_top1"))
    if not test:
        return None
    final = f"{100 * test[-1][1]:.1f}"
    return Curve(
        name,
        _path(test, epochs),
        _path(train, epochs),
        epochs,
        final,
        f"{what}, test accuracy: {100 * test[0][1]:.1f} % after epoch {test[0][0]}, {final} % after epoch {test[-1][0]}, "
        f"mean of {len(columns)} run{'s' if len(columns) > 1 else ''}",
    )


def _mean(columns: Sequence[dict[str, list[float]]], name: str) -> list[tuple[int, float]]:
    """Return (epoch, mean over the runs with a value at that epoch)."""
    values: dict[int, list[float]] = defaultdict(list)
    for column in columns:
        for epoch, value in zip(column["epoch"], column[name], strict=True):
            if math.isfinite(value):
                values[int(epoch)].append(value)
    return [(e, sum(v) / len(v)) for e, v in sorted(values.items())]


def _path(points: Sequence[tuple[int, float]], epochs: int) -> str:
    """Return a path through a subset of the points that includes the first and the last."""
    step = max(1, math.ceil((len(points) - 1) / (MOST - 1)))
    chosen = [*points[:-1:step], points[-1]] if points else []
    return (
        "M" + "L".join(f"{WIDTH * e / max(1, epochs):.0f} {HEIGHT * (1 - v):.1f}" for e, v in chosen) if chosen else ""
    )
