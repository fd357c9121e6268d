"""What the files of a cell say about it: done, under way, paused, failed or outdated."""

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

#: In the order of the columns.  "diverged" is done, too; "paused" has a checkpoint; "stale" is of another configuration.
STATES = ("done", "diverged", "running", "queued", "paused", "failed", "stale", "damaged", "missing")
FINISHED = ("done", "diverged")
_IN_CACHE = "to be collected"


@dataclass(frozen=True)
class CellStatus:
    """One cell.

    Attributes
    ----------
    cell : str
        Architecture, regime, seed.
    state : str
        One of `STATES`.
    epoch, epochs : int or None
        How far it is, if it is under way.
    seconds_left : float or None
        Of training; None if nothing is known of its speed.
    job : str or None
        SLURM's number of the job that trains it or will.
    detail : str
        Who trains it, why it waits, or why it failed.
    log : str or None
        What its training said.
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
    """A job of a queue, as `bnonly.cluster.queue` has it."""

    @property
    def number(self) -> str:
        """SLURM's number."""

    @property
    def state(self) -> str:
        """RUNNING, PENDING, ..."""

    def why(self) -> str:
        """Return its state in words, and why it waits."""


def look(cell: Cell, job: Job | None = None, whole: float | None = None) -> CellStatus:
    """Tell how a cell is.

    Parameters
    ----------
    cell : Cell
        Which.
    job : Job, optional
        Its job in the queue.
    whole : float, optional
        Seconds of all its training, as estimated.
    """
    folder, digest, name = cell.key.folder, cell.digest(), str(cell)
    log = str(cell.key.log("train")) if cell.key.log("train").exists() else None
    epoch, epochs, left = _progress(folder)
    if left is None and whole is not None:
        left = whole * (1 - epoch / epochs) if epoch is not None and epochs else whole
    owner = lock.owner_of(folder)
    # A job whose node was lost waits again, and its training's mark stands there for a while.
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
        with suppress(UserError):  # damaged: it is trained again
            label = parquet.read_label(paths.metrics(paths.finished(digest)))
            return CellStatus(name, _ended(label), detail=_IN_CACHE, log=log)
    if job:
        return CellStatus(name, "queued", epoch, epochs, left, job.number, job.why(), log)
    failed = failure.read(folder)
    if failed and failed["digest"] == digest:
        said = failed.get("log") or log
        return CellStatus(name, "failed", epoch, epochs, left, failed.get("job"), failed["reason"], said)
    if paths.checkpoint(folder, digest).exists():
        detail = f"{owner} ended without a word" if owner else ""
        return CellStatus(name, "paused", epoch, epochs, left, None, detail, log)
    return CellStatus(name, "stale" if outdated else "missing", seconds_left=whole)


def _ended(label: Mapping[str, Any]) -> str:
    return "diverged" if label.get("status") == "diverged" else "done"


def state_of(cell: Cell) -> str:
    """Return one of `STATES`, as the files in the cell's folder tell it: "queued" is for the queue to say."""
    found = look(cell)
    return "missing" if found.detail == _IN_CACHE else found.state


def _progress(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Return the epoch, the epochs and the seconds left that a training noted, as far as they are such."""
    found = atomic.read_json(paths.progress(folder))
    epoch, epochs, left = (found.get(key) for key in ("epoch", "epochs", "seconds_left"))
    if not (isinstance(epoch, int) and isinstance(epochs, int) and 0 <= epoch <= epochs < 10**9):
        return None, None, None
    return epoch, epochs, float(left) if isinstance(left, int | float) and 0 <= left < 1e12 else None
