"""What figures, experiments or everything cost, by kind of GPU (standard library only)."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnonly.cost.estimate import Estimate, estimate
from bnonly.cost.gpus import GPUS, Gpu
from bnonly.cost.measured import Measured
from bnonly.cost.model import CORES
from bnonly.cost.training import count_training
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import ENGINES, PRECISIONS, Cell, Key
from bnonly.grid.resolve import Grid

#: Architecture and regime: what replicates share.
Pair = tuple[str, str]
_COUNTED = ("train_flops", "test_flops", "disk_bytes")


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """What an estimate takes for granted.

    Attributes
    ----------
    gpus : int
        Of one kind, for the wall time.
    engine, precision : str or None
        Instead of the configuration's.
    cores : int
        CPU cores that decode images for one GPU.
    """

    gpus: int = 1
    engine: str | None = None
    precision: str | None = None
    cores: int = CORES


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


def as_engine(cell: Cell, gpu: Gpu, assumed: Assumptions) -> Cell:
    """Return a cell as another engine or precision would train it; the fast engine's own is bf16 on a GPU."""
    engine, precision = assumed.engine or cell.engine, assumed.precision
    if precision is None:
        if engine == cell.engine:
            precision = cell.precision
        else:
            precision = "fp32" if engine == "reference" or gpu.is_cpu else "bf16"
    return dataclasses.replace(cell, engine=engine, precision=precision)


def costs(
    grid: Grid,
    keys: Sequence[Key],
    kinds: Sequence[Gpu],
    assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
    measured: Measured | None = None,
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
    assumed : Assumptions
        How many GPUs, which engine.
    measured : Measured, optional
        What corrects the model.

    Returns
    -------
    dict
        JSON-able: "trainings", "networks" (architectures times regimes), "train_flops", "test_flops", "disk_bytes";
        "groups", experiment by experiment, a shared cell in the first; "kinds", device by device: seconds, joules at
        board power, wall seconds, error_factor, measured share of the time, the longest training, what does not fit its
        memory, and the precisions that it lacks; "model": how the model did where something was measured.
    """
    _check(grid, keys, assumed)
    home: dict[Key, str] = {}
    for experiment in grid.experiments.values():
        for key in grid.keys_of(experiment):
            home.setdefault(key, experiment.name)
    # Replicates cost the same: one of them is counted and estimated.
    cells = {key[:2]: grid.cells[key] for key in reversed(keys)}
    counts = {pair: count_training(cell) for pair, cell in cells.items()}
    groups: dict[str, dict[str, Any]] = {}
    for key in keys:
        group = groups.setdefault(home[key], {"trainings": 0, **dict.fromkeys(_COUNTED, 0), "seconds": {}})
        group["trainings"] += 1
        for what in _COUNTED:
            group[what] += getattr(counts[key[:2]], what)
    devices = []
    for kind in kinds:
        as_trained = {pair: as_engine(cell, kind, assumed) for pair, cell in cells.items()}
        found = {p: estimate(c, kind, measured, assumed.cores, grid.warm) for p, c in as_trained.items()}
        for key in keys:
            seconds = groups[home[key]]["seconds"]
            seconds[kind.name] = seconds.get(kind.name, 0.0) + _device_seconds(as_trained, found, key)
        devices.append(_device(kind, keys, as_trained, found, assumed.gpus))
    return {
        "run": grid.title,
        "engine": assumed.engine or "/".join(sorted({c.engine for c in cells.values()})),
        "gpus": assumed.gpus,
        "trainings": len(keys),
        "networks": len(cells),
        **{what: sum(g[what] for g in groups.values()) for what in _COUNTED},
        "groups": [{"name": name, **group} for name, group in groups.items()],
        "kinds": devices,
        "model": [dataclasses.asdict(g) for g in measured.groups()] if measured else [],
    }


def _check(grid: Grid, keys: Sequence[Key], assumed: Assumptions) -> None:
    engine, precision = assumed.engine, assumed.precision
    for word, known in ((engine, ENGINES), (precision, PRECISIONS)):
        if word is not None and word not in known:
            raise UserError(f"{word}: is not known here; {accepted(word, known)}")
    if precision not in (None, "fp32") and "reference" in (engine or {grid.cells[k].engine for k in keys}):
        raise UserError(f"{precision}: the reference engine computes in fp32; others need --engine fast")


def _device_seconds(cells: Mapping[Pair, Cell], found: Mapping[Pair, Estimate], key: Key) -> float:
    """Return the seconds of one training, those of all of its GPUs added up."""
    return found[key[:2]].seconds * cells[key[:2]].recipe.gpus


def _device(
    kind: Gpu, keys: Sequence[Key], cells: Mapping[Pair, Cell], found: Mapping[Pair, Estimate], gpus: int
) -> dict[str, Any]:
    """Add up the estimates for one kind of device."""
    spent = {key: _device_seconds(cells, found, key) for key in keys}
    total = sum(spent.values())
    # Weighted by time; nothing is said of trainings like none that was measured.
    errors = [(error, s) for key, s in spent.items() if (error := found[key[:2]].error_factor) is not None]
    longest = max(found, key=lambda p: found[p].seconds, default=None)
    precisions = sorted({c.precision for c in cells.values()})
    return {
        "kind": kind.name,
        "seconds": total,
        "wall_seconds": longest_first([(found[k[:2]].seconds, cells[k[:2]].recipe.gpus) for k in keys], gpus),
        "joules": total * kind.watts,
        "measured_share": sum(s for key, s in spent.items() if found[key[:2]].measured) / total if total else 0.0,
        "error_factor": sum(e * s for e, s in errors) / sum(s for _, s in errors) if errors else None,
        "longest": {"cell": "/".join(longest), "seconds": found[longest].seconds} if longest else None,
        "too_large": sorted("/".join(p) for p in found if found[p].memory_bytes > kind.memory_bytes),
        "precision": precisions,
        "unsupported": [p for p in precisions if kind.lacks(p)],
    }


def default_kinds(grid_kinds: Sequence[Gpu]) -> list[Gpu]:
    """Return the kinds of the table where none is named: the configuration's own, then all of ours."""
    return [*grid_kinds, *(g for n, g in GPUS.items() if n not in {k.name for k in grid_kinds})]
