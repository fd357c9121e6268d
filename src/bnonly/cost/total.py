"""``bnonly cost``: what a figure, an experiment or everything costs, by kind of GPU (nothing heavy)."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bnonly.cost.counting import work
from bnonly.cost.estimate import estimate
from bnonly.cost.gpus import GPUS, Gpu
from bnonly.cost.measured import Measured
from bnonly.cost.model import CORES
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import ENGINES, PRECISIONS, Cell, Key
from bnonly.grid.resolve import Grid


def longest_first(trainings: Iterable[tuple[float, int]], gpus: int) -> float:
    """Return when the last of some GPUs is done if they take the longest training that is left, in turn.

    Parameters
    ----------
    trainings : iterable of (seconds, GPUs that it takes)
        One that takes more than there are is counted as taking all of them.
    gpus : int
        How many there are.
    """
    free = [0.0] * gpus
    for seconds, width in sorted(trainings, reverse=True):
        taken = [heapq.heappop(free) for _ in range(min(width, gpus))]
        for _ in taken:
            heapq.heappush(free, taken[-1] + seconds)
    return max(free)


def as_engine(cell: Cell, gpu: Gpu, engine: str | None, precision: str | None) -> Cell:
    """Return a cell as another engine or precision would train it; the fast engine's own is bf16 on a GPU."""
    if engine is None and precision is None:
        return cell
    engine = engine or cell.engine
    default = (
        "fp32"
        if engine == "reference"
        else cell.precision
        if engine == cell.engine
        else "fp32"
        if gpu.is_cpu
        else "bf16"
    )
    return dataclasses.replace(cell, engine=engine, precision=precision or default)


def costs(
    grid: Grid,
    keys: Sequence[Key],
    kinds: Sequence[Gpu],
    gpus: int = 1,
    engine: str | None = None,
    precision: str | None = None,
    measured: Measured | None = None,
    cores: int = CORES,
) -> dict[str, Any]:
    """Add up what cells cost.

    Parameters
    ----------
    grid : Grid
        The resolved configuration.
    keys : sequence of (architecture, regime, seed)
        From `outputs.select`.
    kinds : sequence of Gpu
        Devices to estimate for.
    gpus : int
        Of one kind, for the wall time.
    engine, precision : str, optional
        Instead of the configuration's.
    measured : Measured, optional
        What corrects the model.
    cores : int
        CPU cores that decode images for one GPU.

    Returns
    -------
    dict
        JSON-able: "trainings", "networks" (architectures times regimes), "train_flops", "test_flops", "disk_bytes";
        "groups", experiment by experiment, a shared cell in the first; "kinds", device by device: seconds, joules at
        board power, wall seconds, error_factor, measured share of the time, the longest training, what does not fit its
        memory, and the precisions that it lacks; "model": how the model did where something was measured.
    """
    for word, known in ((engine, ENGINES), (precision, PRECISIONS)):
        if word is not None and word not in known:
            raise UserError(f"{word}: is not known here; {accepted(word, known)}")
    if precision not in (None, "fp32") and "reference" in (engine or {grid.cells[k].engine for k in keys}):
        raise UserError(f"{precision}: the reference engine computes in fp32; others need --engine fast")
    home: dict[Key, str] = {}
    for experiment in grid.experiments.values():
        for key in grid.keys_of(experiment):
            home.setdefault(key, experiment.name)
    # Replicates cost the same: one of them is estimated.
    replicates = Counter(key[:2] for key in keys)
    cells = {key[:2]: grid.cells[key] for key in reversed(keys)}
    wide = {pair: cell.recipe.gpus for pair, cell in cells.items()}
    works = {pair: work(cell) for pair, cell in cells.items()}
    groups: dict[str, dict[str, Any]] = {}
    for key in keys:
        done = works[key[:2]]
        group = groups.setdefault(
            home[key], {"trainings": 0, "train_flops": 0, "test_flops": 0, "disk_bytes": 0, "seconds": {}}
        )
        group["trainings"] += 1
        for what in ("train_flops", "test_flops", "disk_bytes"):
            group[what] += getattr(done, what)
    devices = []
    for kind in kinds:
        trained_as = {p: as_engine(c, kind, engine, precision) for p, c in cells.items()}
        precisions = sorted({c.precision for c in trained_as.values()})
        found = {p: estimate(c, kind, measured, cores, grid.warm) for p, c in trained_as.items()}
        for key in keys:
            seconds = groups[home[key]]["seconds"]
            seconds[kind.name] = seconds.get(kind.name, 0.0) + found[key[:2]].seconds * wide[key[:2]]
        spent = {p: found[p].seconds * wide[p] * n for p, n in replicates.items()}
        total = sum(spent.values())
        errors = [(found[p].error_factor, spent[p]) for p in spent]
        stated = [(e, weight) for e, weight in errors if e is not None]
        longest = max(found, key=lambda p: found[p].seconds, default=None)
        devices.append(
            {
                "kind": kind.name,
                "seconds": total,
                "wall_seconds": longest_first([(found[a, r].seconds, wide[a, r]) for a, r, _ in keys], gpus),
                "joules": total * kind.watts,
                "measured_share": sum(t for p, t in spent.items() if found[p].measured) / total if total else 0.0,
                "error_factor": sum(e * w for e, w in stated) / sum(w for _, w in stated) if stated else None,
                "longest": {"cell": "/".join(longest), "seconds": found[longest].seconds} if longest else None,
                "too_large": sorted("/".join(p) for p in found if found[p].memory_bytes > kind.memory_bytes),
                "precision": precisions,
                "unsupported": [p for p in precisions if kind.lacks(p)],
            }
        )
    return {
        "run": grid.title,
        "engine": engine or "/".join(sorted({c.engine for c in cells.values()})),
        "gpus": gpus,
        "trainings": len(keys),
        "networks": len(cells),
        **{what: sum(g[what] for g in groups.values()) for what in ("train_flops", "test_flops", "disk_bytes")},
        "groups": [{"name": name, **group} for name, group in groups.items()],
        "kinds": devices,
        "model": [dataclasses.asdict(g) for g in measured.groups()] if measured else [],
    }


def default_kinds(grid_kinds: Sequence[Gpu]) -> list[Gpu]:
    """Return the kinds of the table where none is named: the configuration's own, then all of ours."""
    return [*grid_kinds, *(g for n, g in GPUS.items() if n not in {k.name for k in grid_kinds})]
