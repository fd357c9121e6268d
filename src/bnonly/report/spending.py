"""What a run has cost, and what is still to come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bnonly.console import duration
from bnonly.cost import estimate, find_gpu
from bnonly.cost.gpus import of_configuration
from bnonly.cost.measured import scan
from bnonly.cost.total import costs, default_kinds
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.verdicts.measure import Measurements


def device_seconds(label: dict[str, Any]) -> float:
    """Return a run's time on its device: its share of it, where replicates trained side by side."""
    return float(label.get("wall_seconds", 0.0)) / int(label.get("together", 1))


class Prices:
    """What missing trainings would cost, where the cost model knows."""

    KIND = "a100-80"

    def __init__(self, grid: Grid, paper: Grid | None) -> None:
        self._grids = [g for g in (grid, paper) if g]
        self._seconds: dict[tuple[str, str], float] = {}

    def of(self, keys: Sequence[Key]) -> str:
        """Return the price of some trainings in words; empty if one is unknown."""
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
    """Return what was spent, by device and engine, and plans for what is missing, by kind of GPU."""
    spent: dict[tuple[str, str], list[float]] = {}
    for key, label in measured.labels.items():
        cell = grid.cells[key]
        row = spent.setdefault(
            (label.get("device_name", "unknown"), f"{cell.engine}, {cell.precision}"), [0.0, 0.0, 0.0, 0.0]
        )
        row[0] += 1
        row[1] += device_seconds(label)
        row[2] = max(row[2], label.get("peak_device_bytes", label.get("peak_host_bytes", 0)))
        row[3] += label.get("energy_joules", math.nan)
    return {
        "spent": [
            {
                "device": device,
                "engine": engine,
                "runs": int(n),
                "time": duration(seconds),
                "memory": f"{peak / 1e9:.1f} GB",
                "energy": f"{joules / 3.6e6:.2f} kWh" if math.isfinite(joules) else "not measured",
            }
            for (device, engine), (n, seconds, peak, joules) in spent.items()
        ],
        "plans": _plans(grid, paper, measured),
    }


def _plans(grid: Grid, paper: Grid | None, measured: Measurements) -> list[dict[str, Any]]:
    own = of_configuration(grid.gpus)
    kinds = [g for g in default_kinds(own) if not g.is_cpu]
    known = scan(own) if measured.labels else None
    plans: list[tuple[str, Grid, list[Key]]] = []
    missing = [k for k in grid.cells if k in grid.on_default() and k not in measured.labels]
    everything = [k for k in paper.cells if k in paper.on_default()] if paper else []
    if missing != everything:
        plans.append(("What this run still misses", grid, missing))
    if paper:
        plans.append(("The whole paper (Figures 1 to 25)", paper, everything))
        asked = [k for k in paper.cells if k not in paper.on_default()]
        plans.append(("What the paper states without a figure", paper, asked))
    out = []
    for title, of, keys in plans:
        if not keys:
            continue
        found = costs(of, keys, kinds, measured=known)
        out.append(
            {
                "title": title,
                "runs": f"{len(keys):,}",
                "flops": _flops(found["train_flops"]),
                "disk": f"{found['disk_bytes'] / 1e9:.1f} GB",
                "kinds": [
                    {
                        "name": k["kind"],
                        "hours": f"{k['seconds'] / 3600:,.0f}"
                        if k["seconds"] > 36000
                        else f"{k['seconds'] / 3600:.2g}",
                        "precision": " and ".join(k["precision"]),
                        "energy": f"{k['joules'] / 3.6e6:,.0f} kWh"
                        if k["joules"] > 3.6e6
                        else f"{k['joules'] / 3.6e6:.2g} kWh",
                        "error": f"within a factor of {k['error_factor']:.2g}"
                        if k["error_factor"]
                        else "not yet compared with a run",
                        "too_large": len(k["too_large"]),
                    }
                    for k in found["kinds"]
                ],
            }
        )
    return out


def _flops(flops: float) -> str:
    exponent = math.floor(math.log10(flops)) if flops else 0
    return f"{flops / 10**exponent:.1f} × 10{''.join('⁰¹²³⁴⁵⁶⁷⁸⁹'[int(d)] for d in str(exponent))}"
