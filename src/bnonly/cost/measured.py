"""Throughputs of finished runs, which correct the model (standard library; pyarrow only while results are
scanned).

`scan` reads the metrics under ``results/`` and stores the throughputs in ``results/throughputs.json``.  `load` reads only
that file, so that the workflow needs no heavy imports.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.cost.estimate import Correction
from bnonly.cost.gpus import Gpu, cpu, find_gpu
from bnonly.cost.model import step_seconds_per_image
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, parse_cell
from bnonly.results import atomic


@dataclass(frozen=True)
class Throughput:
    """The throughput of one finished run.

    Attributes
    ----------
    cell : Cell
        The cell that was trained.
    device : str
        Kind of device: a name in `bnonly.cost.gpus`, or "cpu:N" with N threads.
    images_per_second : float
        Median over its epochs, without evaluations.
    """

    cell: Cell
    device: str
    images_per_second: float


@dataclass(frozen=True)
class Group:
    """The accuracy of the model for one kind of device, engine, precision and family."""

    device: str
    engine: str
    precision: str
    family: str
    cells: int
    correction: Correction
    spread: float
    error_uncorrected: float


class Measured:
    """Throughputs and the corrections from them.

    Parameters
    ----------
    throughputs : iterable of Throughput
        From any devices.
    kinds : iterable of Gpu
        Kinds of the configuration.
    """

    def __init__(self, throughputs: Iterable[Throughput], kinds: Iterable[Gpu] = ()) -> None:
        self.throughputs, self._kinds = tuple(throughputs), tuple(kinds)

    @cached_property
    def _logs(self) -> dict[tuple[str, str, str, str], dict[tuple[str, str], list[float]]]:
        """Logarithms of measured over modelled, by (device, engine, precision, family), by (architecture, regime)."""
        found: dict[tuple[str, str, str, str], dict[tuple[str, str], list[float]]] = {}
        for run in self.throughputs:
            gpu = find_gpu(run.device, self._kinds)
            cell = run.cell
            log = -math.log(run.images_per_second * step_seconds_per_image(cell, gpu))
            key = (_kind(gpu), cell.engine, cell.precision, cell.architecture.family)
            found.setdefault(key, {}).setdefault((cell.architecture.name, cell.regime.name), []).append(log)
        return found

    @cached_property
    def _corrections(self) -> dict[tuple[str, ...], Correction]:
        families: dict[tuple[str, ...], dict[str, list[float]]] = {}
        found: dict[tuple[str, ...], Correction] = {}
        for key, cells in self._logs.items():
            found[key] = _correct(cells.values())
            families.setdefault(key[:3], {})[key[3]] = [statistics.fmean(v) for v in cells.values()]
        # An unmeasured family takes the correction of the others, with the error of predicting one family from another.
        for short, by_family in families.items():
            found[short] = _correct(by_family.values())
        return found

    def correction(self, cell: Cell, gpu: Gpu) -> Correction | None:
        """Return the correction of a cell on a device; None if nothing similar was measured.

        Replicates of the same architecture and regime come first, then its family, then every family.
        """
        key = (_kind(gpu), cell.engine, cell.precision, cell.architecture.family)
        same = self._logs.get(key, {}).get((cell.architecture.name, cell.regime.name))
        if same:
            error = math.exp(statistics.stdev(same)) if len(same) > 1 else self._corrections[key].error
            return Correction(math.exp(statistics.fmean(same)), error, len(same))
        return self._corrections.get(key) or self._corrections.get(key[:3])

    def groups(self) -> Iterator[Group]:
        """Yield the accuracy of the model for every measured group."""
        for key, cells in sorted(self._logs.items()):
            logs = [statistics.fmean(v) for v in cells.values()]
            yield Group(
                *key,
                cells=len(logs),
                correction=self._corrections[key],
                spread=math.exp(statistics.stdev(logs)) if len(logs) > 1 else 1.0,
                error_uncorrected=math.exp(math.sqrt(statistics.fmean([v * v for v in logs]))),
            )


def _kind(gpu: Gpu) -> str:
    return "cpu" if gpu.is_cpu else gpu.name


def _correct(cells: Iterable[list[float]]) -> Correction:
    lists = list(cells)
    logs = [statistics.fmean(v) for v in lists]
    runs = sum(map(len, lists))
    if len(logs) == 1:
        return Correction(math.exp(logs[0]), None, runs)
    total, count = sum(logs), len(logs)
    missed = [v - (total - v) / (count - 1) for v in logs]
    return Correction(math.exp(total / count), math.exp(math.sqrt(statistics.fmean([m * m for m in missed]))), runs)


def load(kinds: Iterable[Gpu] = ()) -> Measured | None:
    """Read the throughputs that the last `scan` of this run stored; None if there are none."""
    kinds = tuple(kinds)
    found = [
        Throughput(parse_cell(e["cell"]), e["device"], e["images_per_second"])
        for e in _entries(kinds).values()
        if e["device"]
    ]
    return Measured(found, kinds) if found else None


def _entries(kinds: tuple[Gpu, ...]) -> dict[str, Any]:
    """Return the stored entries by file; empty if there are none or one has another version."""
    try:
        entries = atomic.read_json(paths.throughputs())["runs"]
        for entry in entries.values():
            parse_cell(entry["cell"])
            if entry["device"]:
                find_gpu(entry["device"], kinds)
                if not 0 < entry["images_per_second"] < math.inf:  # a string raises TypeError
                    return {}
        return dict(entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return {}


def scan(kinds: Iterable[Gpu] = ()) -> Measured | None:
    """Read the throughput of every finished run under ``results/``; unchanged files come from the stored entries.

    Returns
    -------
    Measured or None
        None if there are no results.

    Notes
    -----
    It skips damaged files (`bnonly status` names them), runs that changed devices, and devices of unknown
    kind.
    """
    kinds = tuple(kinds)
    known, entries = _entries(kinds), {}
    for path in sorted(paths.RESULTS.glob("*/*/seed*/metrics.parquet")):
        try:
            about = path.stat()
        except OSError:  # Snakemake has just deleted it
            continue
        mark = [about.st_mtime_ns, about.st_size]
        entry = known.get(str(path))
        if entry is None or entry.get("mark") != mark:
            entry = _read(path, kinds, mark)
        if entry:
            entries[str(path)] = entry
    if entries != known:
        # Read-only results of another user cannot keep them: the next call scans them again.
        with suppress(UserError), atomic.writing(paths.throughputs()) as stream:
            stream.write(json.dumps({"runs": entries}, indent=0, sort_keys=True).encode())
    return load(kinds) if entries else None


def _read(path: Path, kinds: tuple[Gpu, ...], mark: list[int]) -> dict[str, Any] | None:
    from bnonly.results import parquet

    try:
        table, label = parquet.read(path, "metrics")
        text = json.dumps(label["cell"], sort_keys=True, separators=(",", ":"))
        parse_cell(text)
    except (UserError, KeyError):
        return None
    rates = [
        r for r, s in zip(table["images_per_second"].to_pylist(), table["seconds"].to_pylist(), strict=True) if s > 0
    ]
    rates = rates[1:] if len(rates) > 2 else rates  # the first epoch warms up
    # The throughput of replicates side by side says little about one that trains alone.
    if max(int(s.get("together", 1)) for s in label.get("sessions") or [label]) > 1:
        rates = []
    device = _device(label, kinds) if rates else ""
    return {
        "mark": mark,
        "cell": text,
        "device": device,
        "images_per_second": statistics.median(rates) if rates else 0.0,
    }


def _device(label: dict[str, Any], kinds: tuple[Gpu, ...]) -> str:
    """Return the kind of device of a run; "" if it changed devices or the kind is unknown."""
    sessions = label.get("sessions") or [label]
    if len({(s.get("device_name"), s.get("threads")) for s in sessions}) > 1:
        return ""
    if label.get("device") == "cpu":
        return cpu(max(1, int(label.get("threads", 1)))).name
    try:
        return find_gpu(str(label.get("device_name")), kinds).name
    except UserError:
        return ""
