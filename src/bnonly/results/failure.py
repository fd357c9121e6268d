"""Records of failed trainings: `bnonly status` shows them, and a batch counts its attempts with them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.results import atomic
from bnonly.results.lock import Held


def read(folder: Path) -> dict[str, Any] | None:
    """Return the record of a cell's last failure: reason, log, job, time, digest, times; None if there is none."""
    found = atomic.read_json(paths.failure(folder))
    kinds = {"reason": str, "times": int, "digest": str}
    return found if all(isinstance(found.get(key), kind) for key, kind in kinds.items()) else None


def record(cell: Cell, folder: Path, reason: str) -> None:
    """Record a failure; `times` counts failures in a row without a newer checkpoint."""
    before = read(folder) or {}
    try:
        checkpoint = paths.checkpoint(folder, cell.digest()).stat().st_mtime
    except OSError:
        checkpoint = 0.0
    same = before.get("digest") == cell.digest() and before.get("checkpoint") == checkpoint
    log = cell.key.log("train")
    content = {
        "reason": reason,
        "times": before["times"] + 1 if same else 1,
        "digest": cell.digest(),
        "checkpoint": checkpoint,
        "log": str(log) if log.exists() else None,
        "job": os.environ.get("SLURM_JOB_ID"),
        "time": time.time(),
    }
    with suppress(UserError):  # if the disk is full, only the message remains
        atomic.replace(paths.failure(folder), json.dumps(content).encode())


def forget(folder: Path) -> None:
    """Remove the record."""
    paths.failure(folder).unlink(missing_ok=True)


@contextmanager
def recorded(cell: Cell, folder: Path) -> Iterator[None]:
    """Record any error that ends a training, except another process's lock and a signal."""
    try:
        yield
    except Held:
        raise
    except Exception as problem:
        if type(problem).__name__ != "Stopped":
            first = str(problem).strip().splitlines() or [""]
            record(cell, folder, first[0][:500] or type(problem).__name__)
        raise
