"""Batches: replicates of one cell that share a submission; one failure does not stop the others.

The name of a batch, ``ARCHITECTURE+REGIME+SEED-SEED-...``, is the job's whole specification.  A seed followed by
``a`` is also analysed on the same GPU.  The results go to the cells' folders and to the cache.  The workflow's `collect` then takes
them from there, or reports why they are missing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from bnonly import paths
from bnonly.cluster import slurm
from bnonly.config.reader import NAME
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, Key
from bnonly.grid.resolve import Grid
from bnonly.results import atomic, cache, lock

#: Pattern of a batch's name, for the workflow's wildcards.
PATTERN = rf"{NAME}\+{NAME}\+\d+a?(-\d+a?)*"
#: Attempts in a row at a failing cell before a person must look at it.
TRIES = 3
#: Exit status that asks for another submission of the batch.
AGAIN = 75
#: Signals that pause a training.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def name(cells: Sequence[Cell], analysed: Collection[Key] = ()) -> str:
    """Return the name of a batch of replicates; `analysed` lists those to analyse."""
    architecture, regime, _ = cells[0].key
    return f"{architecture}+{regime}+{'-'.join(f'{c.seed}a' if c.key in analysed else str(c.seed) for c in cells)}"


def members(text: str) -> list[Key]:
    """Return the keys of a batch's cells, from its name."""
    architecture, regime, seeds = text.split("+")
    return [Key(architecture, regime, int(s.removesuffix("a"))) for s in seeds.split("-")]


def analysed(text: str) -> list[int]:
    """Return the seeds to analyse, from a batch's name."""
    return [int(s.removesuffix("a")) for s in text.rpartition("+")[2].split("-") if s.endswith("a")]


def run(
    cells: Sequence[Cell],
    train: Callable[[Cell], int],
    marker: Path,
    attempt: int,
    attempts: int,
    together: Callable[[Sequence[Cell]], int] | None = None,
) -> int:
    """Train cells one after another, each in its own process, and report the outcomes.

    A cell that another process trains comes last.  A SLURM job does not wait for it with an idle GPU, but leaves and is submitted again.
    If the cells first train side by side, those left unfinished then train alone.

    Parameters
    ----------
    cells : sequence of Cell
        The cells to train.  Finished cells are skipped.
    train : callable
        Trains and analyses a cell; called in a child process, returns its exit status.
    marker : Path
        Written when the batch needs no further submission: all cells are finished, or a person must look at the failures.
    attempt, attempts : int
        Number of this attempt, and the workflow's maximum.
    together : callable, optional
        Trains several cells in one process; called in a child process, returns its exit status.

    Returns
    -------
    int
        0, or `AGAIN`.
    """
    from bnonly.results import failure

    job, mine = os.environ.get("SLURM_JOB_ID"), os.environ.get(slurm.SUBMISSION)
    _say(
        f"attempt {attempt} of {attempts}, {'SLURM job ' + job if job else 'process ' + str(os.getpid())} on {platform.node()}, "
        f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', 'as found')}"
    )
    stopped: list[int] = []
    child = 0

    def remember(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def run_in_child(work: Callable[[Cell], int], cell: Cell) -> int:
        """Return a child's status as a shell does: 128 plus the signal's number if a signal ended it."""
        nonlocal child
        child = os.fork()
        if child == 0:
            _become(work, cell)
        if stopped:  # a signal came during the fork
            os.kill(child, stopped[-1])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        child = 0
        return code if code >= 0 else 128 - code

    for number in _SIGNALS:
        signal.signal(number, remember)

    if together and len(cells) > 1 and not any(map(_is_held, cells)):
        for cell in cells[1:]:
            _write_log(cell, f"trains together with {cells[0]}, whose log is {cells[0].key.log('train')}\n")
        status = run_in_child(lambda _: together(cells), cells[0])
        if status and not stopped:
            _say(f"training side by side ended with status {status}; training one after another")

    ends: dict[Cell, str] = {}
    for cell in sorted(cells, key=_is_held):
        if stopped:
            break
        if mine and _is_held(cell):
            ends[cell] = "held"
            continue
        began = time.monotonic()
        status = run_in_child(train, cell)
        seconds = time.monotonic() - began
        if status == 0:
            ends[cell] = "finished"
        elif status > 128 and stopped:
            ends[cell] = "paused"
        elif mine and _is_held(cell):  # another process has taken it
            ends[cell] = "held"
        else:
            if status > 128:
                failure.record(
                    cell,
                    cell.key.folder,
                    f"ended by signal {status - 128}{' (out of memory?)' if status == 137 else ''}",
                )
            ends[cell] = "failed"
        _say(f"{cell} {ends[cell]} after {seconds:.1f} s")
    held = [c for c in cells if ends.get(c) == "held"]
    if mine and held:
        why = f"{', '.join(map(str, held))} {'is' if len(held) == 1 else 'are'} being trained by {holder(c.key for c in held) or 'another process'}"
        _say(f"leaves: {why}")
        Path(f"{mine}.again").write_text(why)
        return AGAIN
    tries = {c: (failure.read(c.key.folder) or {"times": 0})["times"] for c in cells}
    if attempt == 1:
        tries = dict.fromkeys(cells, 1)
    # Another attempt for stopped cells, and for failures that may pass.
    again = [
        c for c in cells if ends.get(c) in (None, "paused") or (ends[c] == "failed" and tries[c] < min(TRIES, attempts))
    ]
    if again and attempt < attempts:
        _say(f"needs another submission for {', '.join(map(str, again))}")
        return AGAIN
    atomic.replace(marker, json.dumps({str(c): ends.get(c, "paused") for c in cells}).encode())
    return 0


def collect(cell: Cell, marker: Path | None, analysis: bool = False) -> None:
    """Put the files of a cell's training or analysis where the workflow expects them.

    Raises
    ------
    UserError
        If it is not finished, with the reason and the log.  The batch's marker is then removed, so that the next call trains it.
    """
    folder = cell.key.folder
    if cache.restore(cell.digest(), folder, tuple((paths.ANALYSED if analysis else paths.TRAINED).values())):
        return
    if marker:
        marker.unlink(missing_ok=True)
    from bnonly.results import failure

    failed = failure.read(folder)
    log = cell.key.log("train")
    if failed and failed["digest"] == cell.digest():
        what = "analysis" if analysis else "training"
        often = f" {failed['times']} times in a row" if failed["times"] > 1 else ""
        raise UserError(f"{cell}: {what} failed{often}: {failed['reason']} (log: {log})")
    where = paths.checkpoint(folder, cell.digest())
    if where.exists():
        raise UserError(f"{cell}: stopped before its end; the same command continues from {where} (log: {log})")
    raise UserError(f"{cell}: did not finish; the same command trains it (log: {log})")


def forget_collected(grid: Grid) -> None:
    """Remove markers that a killed Snakemake left: those of batches whose cells are all in the cache."""
    for marker in paths.batch("").glob("*"):
        if re.fullmatch(PATTERN, marker.name):
            cells = [grid.cells.get(key) for key in members(marker.name)]
            if all(c is not None and cache.holds(c.digest()) for c in cells):
                marker.unlink(missing_ok=True)


def holder(keys: Iterable[Key]) -> str:
    """Return the process that trains any of the cells; "" if none, or if it was this SLURM job on a lost node."""
    for key in keys:
        found = lock.owner_of(key.folder)
        requeued = found and found.job and found.job == os.environ.get("SLURM_JOB_ID")
        if found and not requeued and lock.is_alive(key.folder, found):
            return str(found)
    return ""


def _is_held(cell: Cell) -> bool:
    return holder([cell.key]) != ""


def _become(work: Callable[[Cell], int], cell: Cell) -> None:
    """Train a cell in the forked child, with its own log; does not return."""
    status = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        _write_log(cell, "")
        with cell.key.log("train").open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        status = work(cell)
    except BaseException:  # a bug: the log must show it
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _write_log(cell: Cell, text: str) -> None:
    """Write the heading of an attempt to a training's log."""
    log = cell.key.log("train")
    log.parent.mkdir(parents=True, exist_ok=True)
    job = os.environ.get("SLURM_JOB_ID")
    where = f"{platform.node()}{', SLURM job ' + job if job else ''}"
    with log.open("a") as stream:
        stream.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} on {where}\n{text}")


def _say(text: str) -> None:
    print(f"batch: {text}", file=sys.stderr, flush=True)
