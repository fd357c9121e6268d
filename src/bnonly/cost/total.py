"""The cost of figures, of experiments or of everything, by kind of GPU (standard library only)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bnonly.cost.estimate import Estimate, estimate
from bnonly.cost.gpus import GPUS, Gpu
from bnonly.cost.measured import Measured
from bnonly.cost.model import CORES
from bnonly.cost.training import count_training
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import ENGINES, PRECISIONS, Cell, Key
from bnonly.grid.resolve import Grid

#: Architecture and regime, which replicates share.
Pair = tuple[str, str]
_COUNTED = ("train_flops", "test_flops", "disk_bytes")


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """The assumptions of an estimate.

    Attributes
    ----------
    gpus : int
        Number of GPUs, for the wall time.
    engine, precision : str or None
        They replace those of the configuration.
    cores : int
        CPU cores that decode images for one GPU.
    """

    gpus: int = 1
    engine: str | None = None
    precision: str | None = None
    cores: int = CORES


@dataclasses.dataclass(frozen=True)
class Turn:
    """Where and when a training runs: its number, its GPUs' numbers, and seconds since the run's begin."""

    training: int
    gpus: tuple[int, ...]
    begins: float
    ends: float


def turns(trainings: Sequence[tuple[float, int]], gpus: int, places: int = 1) -> list[Turn]:
    """Return where and when each training runs, if they start longest first.

    GPUs are given out as `bnonly.commands.gpus.taken` does it: the training that waits longest collects places as they
    become free, each on another GPU, first on GPUs that nobody uses.  Trainings that share a GPU share its speed.

    Parameters
    ----------
    trainings : sequence of (seconds alone, GPUs that it takes)
        A training that needs more GPUs than there are takes all of them.
    gpus : int
        Number of GPUs.
    places : int
        Trainings that may share a GPU.

    Returns
    -------
    list of Turn
        In the order in which they end.
    """
    waiting = sorted(range(len(trainings)), key=lambda k: trainings[k], reverse=True)
    free = {(place, gpu) for place in range(places) for gpu in range(gpus)}
    left: dict[int, float] = {}  # seconds of work, of the trainings that run
    held: dict[int, list[tuple[int, int]]] = {k: [] for k in waiting}
    begins: dict[int, float] = {}
    now, found = 0.0, []
    while waiting or left:
        while waiting:
            first = waiting[0]
            width = min(trainings[first][1], gpus)
            for place in sorted(free):
                if len(held[first]) < width and place[1] not in {gpu for _, gpu in held[first]}:
                    held[first].append(place)
                    free.remove(place)
            if len(held[first]) < width:
                break
            begins[first], left[first] = now, trainings[first][0]
            waiting.pop(0)
        used = Counter(gpu for k in left for _, gpu in held[k])
        pace = {k: max(used[gpu] for _, gpu in held[k]) for k in left}
        step = min(left[k] * pace[k] for k in left)
        now += step
        for k in [k for k in left if left[k] * pace[k] <= step]:
            found.append(Turn(k, tuple(sorted(gpu for _, gpu in held[k])), begins[k], now))
            free.update(held[k])
            del left[k], pace[k]
        for k in left:
            left[k] -= step / pace[k]
    return found


def as_engine(cell: Cell, gpu: Gpu, assumed: Assumptions) -> Cell:
    """Return a cell with another engine or precision; the fast engine's default is bf16 on a GPU."""
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
    """Add up the costs of cells.

    Parameters
    ----------
    grid : Grid
        The resolved configuration.
    keys : sequence of (architecture, regime, seed)
        From `outputs.select`.
    kinds : sequence of Gpu
        Devices to estimate for.
    assumed : Assumptions
        Number of GPUs, engine, precision.
    measured : Measured, optional
        Corrections of the model.

    Returns
    -------
    dict
        Fit for JSON: "trainings", "networks" (architectures times regimes), "train_flops", "test_flops", "disk_bytes";
        "groups", per experiment, with a shared cell in the first only; "kinds", per device: seconds, joules at
        board power, wall seconds, error_factor, measured share of the time, longest training, trainings that exceed its
        memory, and precisions that it lacks; "model": the accuracy of the model for each measured group.
    """
    _check(grid, keys, assumed)
    home: dict[Key, str] = {}
    for experiment in grid.experiments.values():
        for key in grid.keys_of(experiment):
            home.setdefault(key, experiment.name)
    # Replicates cost the same, so count and estimate one of them.
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
        devices.append(_device(kind, keys, as_trained, found, assumed.gpus, grid.gpu_jobs))
    return {
        "run": grid.title,
        "engine": assumed.engine or "/".join(sorted({c.engine for c in cells.values()})),
        "gpus": assumed.gpus,
        "gpu_jobs": grid.gpu_jobs,
        "trainings": len(keys),
        "networks": len(cells),
        **{what: sum(g[what] for g in groups.values()) for what in _COUNTED},
        "groups": [{"name": name, **group} for name, group in groups.items()],
        "kinds": devices,
        "model": [dataclasses.asdict(g) for g in measured.groups()] if measured else [],
    }


def _check(grid: Grid, keys: Sequence[Key], assumed: Assumptions) -> None:
    engine, precision = assumed.engine, assumed.precision
    for what, word, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if word is not None and word not in known:
            raise UserError(f"unknown {what} '{word}'; {accepted(word, known)}")
    if precision not in (None, "fp32") and "reference" in (engine or {grid.cells[k].engine for k in keys}):
        raise UserError(f"{precision}: the reference engine computes in fp32; others need --engine fast")


def _device_seconds(cells: Mapping[Pair, Cell], found: Mapping[Pair, Estimate], key: Key) -> float:
    """Return the seconds of one training, summed over its GPUs."""
    return found[key[:2]].seconds * cells[key[:2]].recipe.gpus


def _device(
    kind: Gpu, keys: Sequence[Key], cells: Mapping[Pair, Cell], found: Mapping[Pair, Estimate], gpus: int, places: int
) -> dict[str, Any]:
    """Add up the estimates for one kind of device."""
    trainings = [(found[k[:2]].seconds, cells[k[:2]].recipe.gpus) for k in keys]
    scheduled = turns(trainings, gpus, 1 if kind.is_cpu else places)
    spent = {key: _device_seconds(cells, found, key) for key in keys}
    total = sum(spent.values())
    # Weighted by time; trainings unlike any measured one do not count.
    errors = [(error, s) for key, s in spent.items() if (error := found[key[:2]].error_factor) is not None]
    longest = max(found, key=lambda p: found[p].seconds, default=None)
    precisions = sorted({c.precision for c in cells.values()})
    return {
        "kind": kind.name,
        "seconds": total,
        "wall_seconds": max((t.ends for t in scheduled), default=0.0),
        "joules": total * kind.watts,
        "measured_share": sum(s for key, s in spent.items() if found[key[:2]].measured) / total if total else 0.0,
        "error_factor": sum(e * s for e, s in errors) / sum(s for _, s in errors) if errors else None,
        "longest": {"cell": "/".join(longest), "seconds": found[longest].seconds} if longest else None,
        "too_large": sorted("/".join(p) for p in found if found[p].memory_bytes > kind.memory_bytes),
        "precision": precisions,
        "unsupported": [p for p in precisions if kind.lacks(p)],
    }


def default_kinds(grid_kinds: Sequence[Gpu]) -> list[Gpu]:
    """Return the default kinds of the table: the configuration's, then all of ours."""
    return [*grid_kinds, *(g for n, g in GPUS.items() if n not in {k.name for k in grid_kinds})]
