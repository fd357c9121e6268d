"""SLURM's queue, for the jobs of one run folder (standard library only)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bnonly.cluster import batches, slurm
from bnonly.grid.cell import Key


@dataclass(frozen=True)
class Job:
    """One job in the queue.

    Attributes
    ----------
    number : str
        SLURM's number.
    state : str
        RUNNING, PENDING, ...
    reason : str
        SLURM's reason for a pending job.
    cells : tuple
        Keys of the cells of a batch; else empty.
    """

    number: str
    state: str
    reason: str
    cells: tuple[Key, ...]

    def why(self) -> str:
        """Return its state in words; if pending, with SLURM's reason and whether that will pass."""
        if self.state != "PENDING":
            return self.state.lower()
        return f"pending: {self.reason}{', which will not pass' if slurm.will_not_pass(self.reason) else ''}"


def jobs() -> list[Job]:
    """Return the queued jobs of this run's folder; none if there is no SLURM or it does not answer."""
    if not shutil.which("squeue"):
        return []
    found = []
    for entry in slurm.queue(slurm.job_name(Path.cwd())) or []:
        if entry.state not in slurm.ENDED:
            found.append(Job(entry.number, entry.state, entry.reason, job_of(entry.comment)[1]))
    return found


def job_of(comment: str) -> tuple[str, tuple[Key, ...]]:
    """Return a job's rule and cells, from the comment that the executor sets."""
    rule, wildcards = (*comment.split(" "), "")[:2]
    return rule, tuple(batches.members(wildcards)) if re.fullmatch(batches.PATTERN, wildcards) else ()
