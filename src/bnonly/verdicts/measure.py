"""From a run's folder to the numbers behind claims: a value or an array for every run and metric."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, Key, differences
from bnonly.grid.resolve import Grid
from bnonly.results import cache, parquet
from bnonly.results.metrics import METRICS, Value, measure

#: A run within so many points of the accuracy of guessing has failed.
NEAR_CHANCE = 5.0


class Measurements:
    """A run's finished cells; each file is read once and checked against the configuration.

    Attributes
    ----------
    labels : dict
        Provenance of every finished cell, by its key.
    unusable : dict
        By key: the reason why a cell does not count (damaged, or of another configuration).

    Raises
    ------
    UserError
        If results of different data, engines or precisions lie side by side.
    """

    def __init__(self, grid: Grid, root: Path = Path(".")) -> None:
        self.grid, self.root = grid, root
        self.labels: dict[Key, dict[str, Any]] = {}
        self.unusable: dict[Key, str] = {}
        self._tables: dict[tuple[str, Key], dict[str, np.ndarray]] = {}
        self._values: dict[tuple[Any, ...], Value] = {}
        first: dict[str, tuple[tuple[Path, str], str]] = {}
        for key, cell in grid.cells.items():
            path = root / paths.metrics(key.folder)
            if not path.exists():
                continue
            try:
                label = parquet.read(path, "metrics")[1]
            except UserError as problem:
                self.unusable[key] = str(problem)
                continue
            if label.get("digest") != cell.digest():
                self.unusable[key] = _stale(path, cell, label)
                continue
            dataset, sha256 = label["data"]["dataset"], label["data"]["sha256"]
            run = path, cell.digest()
            other, known = first.setdefault(dataset, (run, sha256))
            if known != sha256:
                raise cache.on_other_data(dataset, run, other)
            self.labels[key] = label

    def seeds(self, folder: str, regime: str) -> list[int]:
        """Return the seeds of the grid for an architecture's folder and a regime."""
        return [k.seed for k in self.grid.cells if k[:2] == (folder, regime)]

    def value(self, metric: str, key: Key, threshold: float, bounds: tuple[float, float]) -> Value:
        """Return a metric of one run: a number, or an array for statistics of the pooled runs.

        Raises
        ------
        UserError
            If a required file is missing, damaged or of another configuration.
        """
        known = metric, key, threshold, bounds
        if known not in self._values:
            self._values[known] = self._measure(metric, key, threshold, bounds)
        return self._values[known]

    def has(self, metric: str, key: Key) -> bool:
        """Return whether a run has the files of a metric."""
        if key not in self.labels:
            return False
        kind = METRICS[_MEASURED.get(metric, metric)].kind
        if kind == "metrics":
            return True
        if not (self.root / key.folder / paths.PARQUET[kind]).exists():
            return False
        try:
            self._columns(kind, key)
        except UserError as problem:
            self.unusable[key] = str(problem)
            return False
        return True

    def _columns(self, kind: str, key: Key) -> dict[str, np.ndarray]:
        if (kind, key) not in self._tables:
            path = self.root / key.folder / paths.PARQUET[kind]
            table, _ = parquet.read(path, kind, self.grid.cells[key].digest())
            wanted = {name for metric in METRICS.values() if metric.kind == kind for name in metric.columns}
            self._tables[kind, key] = {name: table.column(name).to_numpy() for name in wanted}
        return self._tables[kind, key]

    def _measure(self, metric: str, key: Key, threshold: float, bounds: tuple[float, float]) -> Value:
        name = _MEASURED.get(metric, metric)
        kind = METRICS[name].kind
        path = key.folder / paths.PARQUET[kind]
        value = measure(name, self._columns(kind, key), path, threshold, bounds)
        if metric == "failed":
            classes = self.grid.cells[key].recipe.data.classes
            return float(self.labels[key]["status"] == "diverged" or float(value) <= 100 / classes + NEAR_CHANCE)
        return value


def _pooled_sd(values: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(values).std())


def _normal_distance(values: Sequence[np.ndarray]) -> float:
    """Return Kolmogorov's distance between pooled values and the normal distribution with their mean and deviation."""
    from scipy.stats import norm

    pooled = np.sort(np.concatenate(values))
    if pooled.size < 2 or pooled.std() == 0:
        return 1.0
    model = norm.cdf(pooled, pooled.mean(), pooled.std())
    above = np.arange(1, pooled.size + 1) / pooled.size
    return float(max((above - model).max(), (model - above + 1 / pooled.size).max()))


#: Statistics of the pooled channels of all runs; every other metric is averaged over the runs.
POOLED: dict[str, Callable[[Sequence[Any]], float]] = {
    "gamma_sd": _pooled_sd,
    "gamma_normal_distance": _normal_distance,
}
#: Metrics computed from the value of another metric.
_MEASURED = {"failed": "top1", **dict.fromkeys(POOLED, "gammas")}


def over_runs(metric: str, values: Sequence[Any]) -> float:
    """Return one number for several runs."""
    return POOLED[metric](values) if metric in POOLED else float(np.mean(values))


def usable(value: Value) -> bool:
    """Return whether a run has a finite value."""
    return value.size > 0 if isinstance(value, np.ndarray) else math.isfinite(value)


def _stale(path: Path, cell: Cell, label: dict[str, Any]) -> str:
    where = paths.shown(path)
    theirs = label.get("cell", {})
    for name, mine in (("engine", cell.engine), ("precision", cell.precision)):
        found = theirs.get(name, "reference" if name == "engine" else "fp32")
        if found != mine:
            raise UserError(
                f"{where}: was made with {name} {found}, the configuration has {mine}; results of two {name}s are not compared: "
                "give each a folder of its own"
            )
    found = theirs.get("recipe", {}).get("dataset", cell.recipe.dataset)
    if found != cell.recipe.dataset:
        raise UserError(
            f"{where}: was trained on {found}, the configuration has {cell.recipe.dataset}; results on two data sets are not "
            "compared: give each a folder of its own"
        )
    what = differences(cell.canonical(), json.dumps(theirs, sort_keys=True, separators=(",", ":")))
    return f"{where}: was made with another configuration ({what})"
