"""What SLURM knows of this run's jobs (standard library only)."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bnonly.cluster import batches
from bnonly.grid.cell import Key

#: Snakemake's own logs; the executor names all jobs of a run by an identifier that stands in its log.
_LOGS = Path(".snakemake/log")
_RUN = re.compile(r"SLURM run ID: (\S+)")


@dataclass(frozen=True)
class Job:
    """One job in the queue.

    Attributes
    ----------
    number : str
        SLURM's.
    state : str
        RUNNING, PENDING, ...
    reason : str
        Why it is pending.
    rule : str
        The workflow's.
    cells : tuple
        Keys of the cells that it trains, if it is a batch.
    """

    number: str
    state: str
    reason: str
    rule: str
    cells: tuple[Key, ...]


def runs() -> list[str]:
    """Return the identifiers of the last runs of Snakemake in this folder."""
    found = []
    for log in sorted(_LOGS.glob("*.snakemake.log"), reverse=True)[:50]:
        with log.open(errors="replace") as stream:
            match = _RUN.search(stream.read(20_000))
        if match:
            found.append(match[1])
    return found


def jobs() -> list[Job]:
    """Return this run's jobs that are in the queue; none where there is no SLURM, or it does not answer."""
    names = runs()
    if not names or not shutil.which("squeue"):
        return []
    text = call("squeue", "--noheader", "--format=%i|%T|%r|%k", f"--name={','.join(names)}")
    found = []
    for line in (text or "").splitlines():
        number, state, reason, comment = line.split("|", 3)
        match = re.fullmatch(r"rule_(.+?)(?:_wildcards_(.*))?", comment)
        rule, wildcards = (match[1], match[2] or "") if match else ("", "")
        cells = tuple(batches.members(wildcards)) if re.fullmatch(batches.PATTERN, wildcards) else ()
        found.append(Job(number, state, reason, rule, cells))
    return found


def call(*command: str, timeout: float = 30) -> str | None:
    """Return what a command of SLURM's says; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
