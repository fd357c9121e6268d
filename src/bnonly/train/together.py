"""Replicates of one cell side by side in one process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch

from bnonly.data import open_source
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible, choose_device
from bnonly.engines.team import Team
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.train.claim import Claim, claimed
from bnonly.train.loop import CHECKPOINT_SECONDS, Run
from bnonly.train.stop import Signals, Stopped


def train_together(
    cells: Sequence[Cell],
    data_root: Path,
    device_name: str = "auto",
    threads: int = 1,
    quiet: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    wait: bool = False,
    keep: Literal["", "too", "only"] = "",
) -> None:
    """Train replicates of one cell side by side in one process; each has its own files, as if trained alone.

    Parameters
    ----------
    cells : sequence of Cell
        They differ in their seeds only.  What is finished is left out; what a checkpoint puts behind the others goes first.
    data_root, device_name, threads, quiet, checkpoint_seconds, wait, keep
        As in `train_cell`.

    Raises
    ------
    UserError
        As `train_cell`; also if the cells are no replicates of one another, or of an engine that cannot do it.
    Stopped
        If a signal asked for it; the same call continues.
    """
    if len({dataclasses.replace(c, seed=0) for c in cells}) > 1:
        raise UserError(f"{', '.join(map(str, cells))}: only replicates, which differ in their seeds, train together")
    if cells[0].engine == "reference" or cells[0].recipe.gpus > 1:
        raise UserError(f"{cells[0]}: trains alone; together train engine: fast or triton, on one GPU")
    device = choose_device(device_name)
    torch.set_num_threads(threads)
    be_reproducible(cells[0].precision)
    with ExitStack() as stack:
        claims: list[tuple[Claim, ExitStack]] = []
        for cell in sorted(cells, key=lambda c: c.seed):  # two that want the same ones must not wait for each other
            own = stack.enter_context(ExitStack())
            claim = own.enter_context(claimed(cell, cell.key.folder, quiet, wait, keep))
            if claim.wanted:
                claims.append((claim, own))
            else:
                own.close()
        if not claims:
            return
        # On a CPU they take turns: one at a time needs its activations.
        memory.check(cells[0], device, len(claims) if device.type == "cuda" else 1)
        source = open_source(cells[0].recipe, data_root, device)
        try:
            runs = [
                (Run(c.cell, c.folder, c.made, source, device, Team(), quiet, checkpoint_seconds, c.held.check), own)
                for c, own in claims
            ]
            _train_runs(runs)
        except (MemoryError, RuntimeError) as problem:
            if not memory.lacked(problem):
                raise
            raise UserError(
                f"{cells[0]} and its replicates: {len(claims)} do not fit the device's memory; train fewer together"
            ) from None


def _train_runs(runs: list[tuple[Run, ExitStack]]) -> None:
    """Train runs of replicates side by side; as soon as one has reached its end, or has diverged, let go what it holds."""
    from bnonly.engines.fast.engine import FastEngine, Replicates

    for run, _ in runs:
        run.begin()
    signals = Signals()
    joint: FastEngine | Replicates | None = None
    members: list[Run] = []
    under_way = dict(runs)
    with signals.watched():
        for run in [r for r in under_way if r.iteration == r.schedule.total]:
            run.finish(None)
            under_way.pop(run).close()
        while under_way:
            behind = min(r.iteration for r in under_way)
            group = [r for r in under_way if r.iteration == behind]
            epoch, first, last = group[0].place()
            # Runs that a checkpoint put ahead are caught up with first.
            start = epoch * group[0].schedule.per_epoch
            last = min([last, *(r.iteration - start for r in under_way if r not in group)])
            if joint is None or group != members:
                joint = None  # its graphs' memory is free before others are captured
                engines = [r.engine for r in group if isinstance(r.engine, FastEngine)]
                joint, members = Replicates(engines) if len(engines) > 1 else engines[0], group
                for run in group:  # checkpoints at the same moments from here on
                    run.saved = group[0].saved
            for run in group:
                run.open_part()
            reached = joint.train(epoch, first, last, group[0].pauses(epoch, first, signals))
            totals = [run.engine.totals() for run in group]  # which waits for the device
            now = time.monotonic()
            stopped = None
            for run, found in zip(group, totals, strict=True):
                run.asked = group[0].asked
                try:
                    reason = run.close_part(epoch, reached, found, now)
                except Stopped as stop:  # after the others have written their checkpoints, too
                    stopped = stop
                    continue
                if reason or run.iteration == run.schedule.total:
                    run.finish(reason)
                    under_way.pop(run).close()
            if stopped:  # runs ahead of these have the checkpoints that they came from
                raise stopped
            for run in group:
                run.saved = max(r.saved for r in group)
