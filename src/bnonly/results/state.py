"""The state of a cell according to its files: done, running, paused, failed or stale."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.results import atomic, cache, failure, lock, parquet

#: In the order of the columns.  "diverged" counts as done; "paused" has a checkpoint; "stale" has another configuration.
STATES = ("done", "diverged", "running", "queued", "paused", "failed", "stale", "damaged", "missing")
FINISHED = ("done", "diverged")
_IN_CACHE = "to be collected"


@dataclass(frozen=True)
class CellStatus:
    """The status of one cell.

    Attributes
    ----------
    cell : str
        Architecture, regime, seed.
    state : str
        One of `STATES`.
    epoch, epochs : int or None
        Progress of a running cell.
    seconds_left : float or None
        Of training; None if its speed is unknown.
    job : str or None
        SLURM's number of the job that trains it, running or pending.
    detail : str
        Its owner, or the reason that it waits or failed.
    log : str or None
        The log of its training.
    """

    cell: str
    state: str
    epoch: int | None = None
    epochs: int | None = None
    seconds_left: float | None = 0.0
    job: str | None = None
    detail: str = ""
    log: str | None = None


class Job(Protocol):
    """A job in the queue; `bnonly.cluster.queue.Job` is one."""

    @property
    def number(self) -> str:
        """SLURM's number."""

    @property
    def state(self) -> str:
        """RUNNING, PENDING, ..."""

    def why(self) -> str:
        """Return its state in words, with the reason that it waits."""


def look(cell: Cell, job: Job | None = None, whole: float | None = None) -> CellStatus:
    """Return the status of a cell.

    Parameters
    ----------
    cell : Cell
        The cell.
    job : Job, optional
        Its job in the queue.
    whole : float, optional
        Estimated seconds of its whole training.
    """
    folder, digest, name = cell.key.folder, cell.digest(), str(cell)
    log = str(cell.key.log("train")) if cell.key.log("train").exists() else None
    epoch, epochs, left = _progress(folder)
    if left is None and whole is not None:
        left = whole * (1 - epoch / epochs) if epoch is not None and epochs else whole
    owner = lock.owner_of(folder)
    # After a node failure the job is pending again, while the mark of its training is not yet stale.
    requeued = job and owner and job.number == owner.job and job.state == "PENDING"
    if owner and lock.is_alive(folder, owner) and not requeued:
        return CellStatus(name, "running", epoch, epochs, left, owner.job or None, str(owner), log)
    outdated = False
    if paths.metrics(folder).exists():
        try:
            label = parquet.read_label(paths.metrics(folder))
        except UserError as problem:
            return CellStatus(name, "damaged", seconds_left=whole, detail=str(problem), log=log)
        if label.get("digest") == digest:
            return CellStatus(name, _ended(label), detail=str(label.get("reason") or ""), log=log)
        outdated = True
    if cache.holds(digest):
        with suppress(UserError):  # damaged files are trained again
            label = parquet.read_label(paths.metrics(paths.finished(digest)))
            return CellStatus(name, _ended(label), detail=_IN_CACHE, log=log)
    if job:
        return CellStatus(name, "queued", epoch, epochs, left, job.number, job.why(), log)
    failed = failure.read(folder)
    if failed and failed["digest"] == digest:
        said = failed.get("log") or log
        return CellStatus(name, "failed", epoch, epochs, left, failed.get("job"), failed["reason"], said)
    if paths.checkpoint(folder, digest).exists():
        detail = f"{owner} ended without a message" if owner else ""
        return CellStatus(name, "paused", epoch, epochs, left, None, detail, log)
    return CellStatus(name, "stale" if outdated else "missing", seconds_left=whole)


def _ended(label: Mapping[str, Any]) -> str:
    return "diverged" if label.get("status") == "diverged" else "done"


def state_of(cell: Cell) -> str:
    """Return one of `STATES` from the files in the cell's folder; only the queue knows "queued"."""
    found = look(cell)
    return "missing" if found.detail == _IN_CACHE else found.state


def _progress(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Return the epoch, epochs and seconds left that a training recorded; None for each invalid value."""
    found = atomic.read_json(paths.progress(folder))
    epoch, epochs, left = (found.get(key) for key in ("epoch", "epochs", "seconds_left"))
    if not (isinstance(epoch, int) and isinstance(epochs, int) and 0 <= epoch <= epochs < 10**9):
        return None, None, None
    return epoch, epochs, float(left) if isinstance(left, int | float) and 0 <= left < 1e12 else None
