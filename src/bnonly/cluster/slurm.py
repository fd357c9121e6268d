"""SLURM's commands and the meaning of their answers (standard library only)."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnonly.results import atomic

#: The executor's folder of logs, its list of waiting jobs, and the file with a job's last failure (in that job's logs).
LOGS, NOTICES, FAILURE = Path(".snakemake/slurm_logs"), "waits_for.txt", "failure.json"
#: Environment variable that gives a job the path of its files, without suffix.
SUBMISSION = "BNONLY_SUBMISSION"
#: States of a job that has ended.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
#: End states that are not the job's fault.
INNOCENT = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REVOKED"}
#: Rejections that are final.  Others may pass: the controller is down, a limit on submissions is reached, ...
_FINAL = re.compile(
    r"invalid (partition|account|qos|feature|generic resource|job array|node name|wckey|job constraint|user|group)|unrecognized option|"
    r"(node|partition) configuration (is )?not available|requested time limit is invalid|cannot be satisfied|can not be satisfied|"
    r"more processors requested|requested operation not supported|invalid .* specification|permission denied|"
    r"MinCpu|MinGRES|Max\w*(PerJob|WallDuration\w*|PerNode)",
    re.IGNORECASE,
)
#: What SLURM's commands print while the controller is away.
_AWAY = re.compile(
    r"unable to contact|connection (refused|failure|timed out)|socket timed out|communication", re.IGNORECASE
)
#: Lines that srun and Snakemake print on every failure.
_GENERAL = re.compile(
    r"srun:|WorkflowError:$|At least one job|Exiting because|\s*\(command exited|Error in rule|Removing output|Complete log|Shutting down"
)
#: What to do about a full disk of a node.
_FULL_NODE = "the node's /tmp is full: set TMPDIR to a folder that all nodes share, and start again"
#: Reasons of a pending job that only a person can fix.
_STUCK = re.compile(
    r"Max\w*PerJob|MaxWallDuration|PartitionTimeLimit|PartitionNodeLimit|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|"
    r"Assoc\w*NotAllowed|DependencyNeverSatisfied|JobHeld|JobHoldMaxRequeue|launch failed requeued held|MinCpus|QOSMinGRES|QOSUsageThreshold"
)


class Refused(Exception):
    """SLURM rejects a job.

    Attributes
    ----------
    is_final : bool
        Whether another attempt cannot succeed.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.is_final = bool(_FINAL.search(text))


@dataclass(frozen=True)
class Entry:
    """A job as the controller reports it.

    Attributes
    ----------
    number, state, reason, node : str
        As SLURM reports them.
    comment : str
        Rule, wildcards and digest of the job.
    """

    number: str
    state: str
    reason: str
    node: str
    comment: str


def will_not_pass(reason: str) -> bool:
    """Whether a job that is pending for this reason will never start."""
    return bool(_STUCK.search(reason))


def job_name(folder: Path) -> str:
    """Return the common name of all jobs of a run's folder, so that one query finds them."""
    return f"bnonly-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


def queue(name: str) -> list[Entry] | None:
    """Return the user's jobs of a name, including recently ended ones; None without an answer that can be read."""
    text = call("squeue", "--me", f"--name={name}", "--states=all", "--noheader", "--format=%i|%T|%r|%N|%k")
    rows = [line.split("|", 4) for line in text.splitlines()] if text is not None else [[]]
    return [Entry(*row) for row in rows] if all(len(row) == 5 for row in rows) else None


def is_away() -> bool:
    """Whether the controller does not answer, which passes; a SLURM that is not set up here is not away."""
    try:
        done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False
    return done.returncode != 0 and bool(_AWAY.search(done.stderr))


def last_state(number: str) -> str:
    """Return the final state of a job from the accounting records; "" without accounting."""
    text = call("sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={number}")
    return (text or "").split(" ")[0].strip()


def submit(options: Sequence[str], script: str) -> str:
    """Submit a script and return its job's number.

    Raises
    ------
    Refused
        If SLURM rejects it.
    """
    # Drop the variables of a job in which Snakemake itself may run.
    environment = {
        k: v for k, v in os.environ.items() if k == "SLURM_CONF" or not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))
    }
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", *options],
            input=script, capture_output=True, text=True, errors="replace", timeout=120, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Refused(str(problem)) from None
    number = done.stdout.strip().splitlines()[-1:] if done.returncode == 0 else []
    if not number:
        raise Refused(
            " ".join(done.stderr.replace("sbatch: error: ", "").split())
            or f"sbatch ended with status {done.returncode}"
        )
    return number[0].split(";")[0]


def cancel(numbers: Iterable[str]) -> bool:
    """Cancel jobs; False if SLURM does not answer."""
    return call("scancel", *numbers, timeout=60) is not None


def notices() -> list[str]:
    """Return the executor's last list of waiting jobs in this run's folder."""
    try:
        return (LOGS / NOTICES).read_text().splitlines()
    except OSError:
        return []


def failures() -> list[dict[str, str]]:
    """Return the last failure of each job in this run's folder without a later success: job, comment, reason, log."""
    found = map(atomic.read_json, sorted(LOGS.glob(f"rule_*/**/{FAILURE}")))
    return [f for f in found if all(isinstance(f.get(key), str) for key in ("job", "comment", "reason", "log"))]


def last_word(log: Path) -> str:
    """Return the line of a job's log that best explains its end; "" if there is none."""
    try:
        return telling(log.read_text(errors="replace"))
    except OSError:
        return ""


def telling(text: str) -> str:
    """Return the line of a program's output that best explains its end."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _GENERAL.match(line)]
    worse = [
        line
        for line in lines
        if re.search(r"error|denied|no space|not found|no such|killed|cannot|does not", line, re.IGNORECASE)
    ]
    found = (worse or lines or [""])[-1][:300]
    return f"{found} ({_FULL_NODE})" if "No space left" in found else found


def call(*command: str, timeout: float = 30) -> str | None:
    """Return the output of a SLURM command; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
