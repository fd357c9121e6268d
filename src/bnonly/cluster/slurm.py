"""SLURM's commands, and what their answers mean (standard library only)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Where the executor keeps logs, what it waits for, and why the last submission of a job failed (in the job's folder of logs).
LOGS, NOTICES, FAILURE = Path(".snakemake/slurm_logs"), "waits_for.txt", "failure.json"
#: Names the files of a submission to the job itself, without their suffixes.
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
#: Those for which the job is not to blame.
INNOCENT = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REVOKED"}
#: Refusals that no waiting mends.  Whatever else `sbatch` says may pass: the controller is away, a limit on submissions is reached, ...
_FINAL = re.compile(
    r"invalid (partition|account|qos|feature|generic resource|job array|node name|wckey|job constraint|user|group)|unrecognized option|"
    r"(node|partition) configuration (is )?not available|requested time limit is invalid|cannot be satisfied|can not be satisfied|"
    r"more processors requested|requested operation not supported|invalid .* specification|permission denied|"
    r"MinCpu|MinGRES|Max\w*(PerJob|WallDuration\w*|PerNode)",
    re.IGNORECASE,
)
#: What srun and Snakemake say of every failure.
_GENERAL = re.compile(
    r"srun:|WorkflowError:$|At least one job|Exiting because|\s*\(command exited|Error in rule|Removing output|Complete log|Shutting down"
)
#: Reasons for which a job waits that only a person can mend.
_STUCK = re.compile(
    r"Max\w*PerJob|MaxWallDuration|PartitionTimeLimit|PartitionNodeLimit|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|"
    r"Assoc\w*NotAllowed|DependencyNeverSatisfied|JobHeld|JobHoldMaxRequeue|launch failed requeued held|MinCpus|QOSMinGRES|QOSUsageThreshold"
)


class Refused(Exception):
    """SLURM does not take a job.

    Attributes
    ----------
    is_final : bool
        Whether it makes no sense to try again.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.is_final = bool(_FINAL.search(text))


@dataclass(frozen=True)
class Entry:
    """A job as the controller knows it.

    Attributes
    ----------
    number, state, reason, node : str
        SLURM's words.
    comment : str
        Rule, wildcards and digest of what it does.
    """

    number: str
    state: str
    reason: str
    node: str
    comment: str


def will_not_pass(reason: str) -> bool:
    """Whether a job that waits for this reason waits for ever."""
    return bool(_STUCK.search(reason))


def job_name(folder: Path) -> str:
    """Return the name of all jobs of a run's folder, by which they are found with one question."""
    return f"bnonly-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


def queue(name: str) -> list[Entry] | None:
    """Return the user's jobs of a name, those that ended a while ago included; None if the controller does not answer."""
    text = call("squeue", "--me", f"--name={name}", "--states=all", "--noheader", "--format=%i|%T|%r|%N|%k")
    return None if text is None else [Entry(*line.split("|", 4)) for line in text.splitlines()]


def last_state(number: str) -> str:
    """Return the state in which a job ended that the controller has forgotten; "" where there is no accounting."""
    text = call("sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={number}")
    return (text or "").split(" ")[0].strip()


def submit(options: Sequence[str], script: str) -> str:
    """Submit a script and return its job's number.

    Raises
    ------
    Refused
        If SLURM does not take it.
    """
    # Not those of a job in which Snakemake itself may run.
    environment = {
        k: v for k, v in os.environ.items() if k == "SLURM_CONF" or not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))
    }
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", *options], input=script, capture_output=True, text=True, timeout=120, env=environment
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
    """Return what the executor of this run's folder waits for, as it has last said."""
    try:
        return (LOGS / NOTICES).read_text().splitlines()
    except OSError:
        return []


def failures() -> list[dict[str, str]]:
    """Return the last failure of each job of this run's folder that has not succeeded since: job, comment, reason, log."""
    return [json.loads(path.read_text()) for path in sorted(LOGS.glob(f"rule_*/*/{FAILURE}"))]


def last_word(log: Path) -> str:
    """Return the line of a job's log that says best why it ended; "" if there is none."""
    try:
        return telling(log.read_text(errors="replace"))
    except OSError:
        return ""


def telling(text: str) -> str:
    """Return the line of what a program said that says best why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _GENERAL.match(line)]
    worse = [
        line
        for line in lines
        if re.search(r"error|denied|no space|not found|no such|killed|cannot|does not", line, re.IGNORECASE)
    ]
    return (worse or lines or [""])[-1][:300]


def call(*command: str, timeout: float = 30) -> str | None:
    """Return what a command of SLURM's says; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
