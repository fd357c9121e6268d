"""Train replicates of one cell side by side in one process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from bnonly.data import open_source
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible, check_device, choose_device
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.train.loop import Run
from bnonly.train.options import Options
from bnonly.train.reservation import Reservation, reserve
from bnonly.train.stop import Signals, Stopped


def train_together(cells: Sequence[Cell], options: Options) -> None:
    """Train replicates of one cell side by side; their files equal those of separate trainings.

    Parameters
    ----------
    cells : sequence of Cell
        They differ in their seeds only.  Finished replicates are skipped.  Replicates whose checkpoint is behind train first.
    options : Options
        Options of the train command.

    Raises
    ------
    UserError
        As `train_cell`; also if the cells are not replicates of one another, or their engine cannot train several.
    Stopped
        If a signal asked the training to stop; the same call continues it.
    """
    if len({dataclasses.replace(c, seed=0) for c in cells}) > 1:
        raise UserError(
            f"{', '.join(map(str, cells))}: only replicates, which differ only in their seeds, can train together"
        )
    if cells[0].engine == "reference" or cells[0].recipe.gpus > 1:
        raise UserError(f"{cells[0]}: replicates can train together only with engine: fast or triton on one GPU")
    device = choose_device(options.device)
    torch.set_num_threads(options.threads)
    be_reproducible(cells[0].precision)
    with ExitStack() as stack:
        reservations: list[tuple[Reservation, ExitStack]] = []
        for cell in sorted(cells, key=lambda c: c.seed):  # a fixed order, so that two processes cannot deadlock
            own = stack.enter_context(ExitStack())
            reservation = own.enter_context(reserve(cell, cell.key.folder, options))
            if reservation.unfinished:
                reservations.append((reservation, own))
            else:
                own.close()
        if not reservations:
            return
        check_device(device)
        # A CPU trains them in turns and holds the activations of only one at a time.
        memory.check(cells[0], device, len(reservations) if device.type == "cuda" else 1)
        source = open_source(cells[0].recipe, options.data, device)
        try:
            _train_runs({Run(reservation, source, device, options): own for reservation, own in reservations})
        except (MemoryError, RuntimeError) as problem:
            if not memory.lacked(problem):
                raise
            raise UserError(
                f"{cells[0]} and its replicates: {len(reservations)} do not fit the device's memory; train fewer together"
            ) from None


def _train_runs(unfinished: dict[Run, ExitStack]) -> None:
    """Train runs of replicates; unlock each folder as soon as its run ends."""
    from bnonly.engines.fast.engine import FastEngine, Replicates

    def finish_if_ended(run: Run) -> None:
        if run.ended:
            run.finish()
            unfinished.pop(run).close()

    for run in unfinished:
        run.start()
    signals = Signals()
    engine: FastEngine | Replicates | None = None
    members: list[Run] = []
    with signals.watched():
        for run in list(unfinished):
            finish_if_ended(run)
        while unfinished:
            behind = min(r.iteration for r in unfinished)
            group = [r for r in unfinished if r.iteration == behind]
            epoch, first, last = group[0].place()
            # They stop at the iteration where a run that is ahead can join them.
            start = epoch * group[0].schedule.per_epoch
            last = min([last, *(r.iteration - start for r in unfinished if r not in group)])
            if engine is None or group != members:
                engine = None  # frees the memory of its CUDA graphs before new ones are captured
                engines = [r.engine for r in group if isinstance(r.engine, FastEngine)]
                engine, members = Replicates(engines) if len(engines) > 1 else engines[0], group
                for run in group:  # from here on, their checkpoints are due at the same time
                    run.saved = group[0].saved
            for run in group:
                run.begin_step()
            reached = engine.train(epoch, first, last, group[0].pause(epoch, first, signals))
            totals = [run.engine.totals() for run in group]  # waits for the device
            now = time.monotonic()
            stopped = None
            for run, sums in zip(group, totals, strict=True):
                run.requested = group[0].requested
                run.end_step(epoch, reached, sums, now)
                run.evaluate()
                try:
                    run.checkpoint()
                except Stopped as stop:  # raised after the others have written their checkpoints
                    stopped = stop
                finish_if_ended(run)
            if stopped:  # runs further ahead still have their earlier checkpoints
                raise stopped
            for run in group:
                run.saved = max(r.saved for r in group)
