"""The cost of a run so far, and the cost of its missing trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bnonly.console import duration, size, two_digits
from bnonly.cost import estimate, find_gpu
from bnonly.cost.gpus import of_configuration
from bnonly.cost.measured import scan
from bnonly.cost.total import costs, default_kinds
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.paper.deviations import on_request
from bnonly.verdicts.measure import Measurements


def device_seconds(label: dict[str, Any]) -> float:
    """Return a run's time on its device; replicates trained side by side share the time."""
    return float(label.get("wall_seconds", 0.0)) / int(label.get("together", 1))


class Prices:
    """Estimated cost of missing trainings, where the cost model can estimate it."""

    KIND = "a100-80"

    def __init__(self, grid: Grid, paper: Grid | None) -> None:
        self._grids = [g for g in (grid, paper) if g]
        self._seconds: dict[tuple[str, str], float] = {}

    def of(self, keys: Sequence[Key]) -> str:
        """Return the price of some trainings in words; empty if the price of one is unknown."""
        seconds = [self._one(k) for k in keys]
        if not keys or not all(math.isfinite(s) for s in seconds):
            return ""
        return f"{duration(sum(seconds))} on one {self.KIND.upper()}"

    def _one(self, key: Key) -> float:
        if key[:2] not in self._seconds:
            self._seconds[key[:2]] = self._estimate(key)
        return self._seconds[key[:2]]

    def _estimate(self, key: Key) -> float:
        for grid in self._grids:
            cell = next((c for k, c in grid.cells.items() if k[:2] == key[:2]), None)
            if cell:
                return float(estimate(cell, find_gpu(self.KIND)).seconds)
        return math.nan


def overview(grid: Grid, paper: Grid | None, measured: Measurements) -> dict[str, Any]:
    """Return the time spent, by device and engine, and the estimates for missing trainings, by kind of GPU."""
    return {"spent": _spent(grid, measured), "plans": _plans(grid, paper, measured)}


def _spent(grid: Grid, measured: Measurements) -> list[list[str]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, label in measured.labels.items():
        cell = grid.cells[key]
        device = str(label.get("device_name", "unknown"))
        groups.setdefault((device, f"{cell.engine}, {cell.precision}"), []).append(label)
    rows = []
    for (device, engine), labels in groups.items():
        peak = max(label.get("peak_device_bytes", label.get("peak_host_bytes", 0)) for label in labels)
        joules = sum(label.get("energy_joules", math.nan) for label in labels)
        rows.append(
            [
                device,
                engine,
                f"{len(labels):,}",
                duration(sum(map(device_seconds, labels))),
                size(peak),
                _energy(joules) if math.isfinite(joules) else "not measured",
            ]
        )
    return rows


def _plans(grid: Grid, paper: Grid | None, measured: Measurements) -> list[dict[str, Any]]:
    own = of_configuration(grid.gpus)
    kinds = [g for g in default_kinds(own) if not g.is_cpu]
    known = scan(own) if measured.labels else None
    missing = [k for k in grid.cells if k in grid.on_default() and k not in measured.labels]
    plans = [("Missing trainings of this run", grid, missing)]
    if paper:
        shown, stated = paper.on_default(), on_request(paper)
        everything, asked = ([k for k in paper.cells if k in keys] for keys in (shown, stated))
        if missing == everything:
            plans.clear()
        plans.append(("The whole paper (Figures 1 to 25)", paper, everything))
        plans.append(("The paper's claims without a figure", paper, asked))
    return [_plan(title, costs(of, keys, kinds, measured=known)) for title, of, keys in plans if keys]


def _plan(title: str, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "text": f"{found['trainings']:,} trainings, {_flops(found['train_flops'])} FLOPs, {size(found['disk_bytes'])} on disk",
        "rows": [_kind(k) for k in found["kinds"]],
    }


def _kind(kind: dict[str, Any]) -> list[str]:
    precisions = " and ".join(kind["precision"])
    if kind["unsupported"]:
        return [kind["kind"], precisions, "–", "–", f"this GPU has no {' and no '.join(kind['unsupported'])}"]
    factor = kind["error_factor"]
    error = f"within a factor of {factor:.2g}" if factor else "not yet compared with a run"
    if kind["too_large"]:
        error += f"; {len(kind['too_large'])} cells do not fit its memory"
    return [kind["kind"], precisions, two_digits(kind["seconds"] / 3600), _energy(kind["joules"]), error]


def _energy(joules: float) -> str:
    return f"{two_digits(joules / 3.6e6)} kWh"


def _flops(flops: float) -> str:
    exponent = math.floor(math.log10(flops)) if flops else 0
    return f"{flops / 10**exponent:.1f} × 10{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(d)] for d in str(exponent))}"
