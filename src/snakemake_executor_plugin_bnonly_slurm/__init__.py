"""Snakemake's jobs on SLURM, through whatever happens to its controller (`executor: bnonly-slurm`).

One query a cycle covers all jobs, and a query that fails changes nothing.  A refused submission is repeated, unless waiting cannot help.
A job that ends through no fault of its own (preempted, its node lost, the disk full) is submitted again without counting as an attempt.
A job of an earlier Snakemake that is still in the queue is taken over.

A job's resources are `runtime`, `mem_mb` and `slurm`: all other options of `sbatch`, as one string.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shlex
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from bnonly.cluster import batches, queue, slurm
from bnonly.cluster.slurm import Entry, Refused

#: Seconds before a refused submission is repeated: at first, and at most.
LEAST_PAUSE, MOST_PAUSE = 10.0, 300.0
#: Bytes that must be free where results go; a quota shows only when something is written.
ROOM = 2_000_000
#: Seconds for which the logs of failed jobs are kept.
KEPT = 30 * 86_400

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings; on the command line, each begins with --bnonly-slurm-."""

    poll: int = field(
        default=20,
        metadata={
            "help": "Seconds between two queries of SLURM's controller; up to three times as many while nothing changes."
        },
    )


@dataclass
class Submission:
    """What the executor knows of a job beyond what Snakemake knows.

    Attributes
    ----------
    folder : Path
        Of its logs.
    comment : str
        Identifies the job in the workflow; two jobs with the same comment do the same work.
    number : str
        SLURM's number; "" until it is submitted.
    missing : int
        Number of consecutive answers without this job.
    holder : str
        The process that trains its cells, for which it waits; "" if there is none.
    """

    folder: Path
    comment: str
    number: str = ""
    missing: int = 0
    holder: str = ""

    @property
    def what(self) -> str:
        """Its rule and wildcards."""
        return self.comment.rpartition(" ")[0]

    def file(self, suffix: str) -> Path:
        """Return the path of a file of this submission."""
        return self.folder / f"{self.number}.{suffix}"


class Executor(RemoteExecutor):
    """Submits, monitors and cancels jobs."""

    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface) -> None:
        self._logs = slurm.LOGS.resolve()
        self._name = slurm.job_name(Path.cwd())
        self._poll = float(workflow.executor_settings.poll)
        self._interval, self._ask_at = self._poll, 0.0
        self._pause, self._submit_at = LEAST_PAUSE, 0.0
        self._queue: dict[str, Entry] | None = None
        self._silent_since = 0.0
        self._numbers: set[str] = set()
        self._refused: set[str] = set()
        self._is_cancelled, self._submitting = False, threading.Lock()
        self._arrived = threading.Event()
        self._notices: dict[str, str] = {}
        self._notice_file = self._logs / slurm.NOTICES
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._notice_file.unlink(missing_ok=True)
        for log in self._logs.rglob("*.*"):
            if log.is_file() and time.time() - log.stat().st_mtime > KEPT:
                log.unlink(missing_ok=True)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Accept a job; the next cycle submits it."""
        wildcards = "+".join(map(str, job.wildcards)).replace("/", "+")
        digest = hashlib.sha256("\0".join(map(str, job.params)).encode()).hexdigest()[:12]
        submission = Submission(self._logs / f"rule_{job.name}" / wildcards, f"{job.name} {wildcards} {digest}")
        self.report_job_submission(SubmittedJobInfo(job, aux={"submission": submission}))
        self._arrived.set()

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Query the controller if it is time, report the jobs that have ended, and submit those that wait."""
        self._arrived.clear()
        if active_jobs and time.monotonic() >= self._ask_at:
            before = self._states()
            await asyncio.to_thread(self._ask)
            self._interval = self._poll if self._states() != before else min(self._interval * 1.25, 3 * self._poll)
            self._ask_at = time.monotonic() + self._interval
            answered = self._silent_since == 0
        else:
            answered = False
        for info in active_jobs:
            if not (answered and info.aux["submission"].number and self._has_ended(info)):
                if self._submitted(info):
                    yield info

    async def sleep(self) -> None:
        """Wait for the next cycle, or until there is something to do."""
        while self.wait and not self._arrived.is_set() and time.monotonic() < self._ask_at:
            await asyncio.sleep(0.2)
        if self._ask_at < time.monotonic():  # there is no job to ask about
            await asyncio.sleep(0.2)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel all jobs, from the executor's own list: Snakemake's is empty during a cycle."""
        with self._submitting:
            self._is_cancelled = True
        if self._numbers and not slurm.cancel(sorted(self._numbers)):
            self.logger.error(
                f"SLURM's controller does not answer; once it does, run: scancel --me --name={self._name}"
            )

    def shutdown(self) -> None:
        """End, and remove the notices for `status`."""
        super().shutdown()
        self._notice_file.unlink(missing_ok=True)

    def _states(self) -> dict[str, str]:
        return {n: e.state for n, e in (self._queue or {}).items()}

    def _ask(self) -> None:
        """Query all jobs at once; without an answer, everything stays as it was."""
        found = slurm.queue(self._name)
        if found is None:
            self._silent_since = self._silent_since or time.time()
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._silent_since))
            self._notice(
                "controller", f"SLURM's controller has not answered since {since}; waiting for it; jobs continue"
            )
            return
        if self._silent_since:
            self._notice("controller", "")
            self.logger.warning(f"SLURM's controller answers again, after {time.time() - self._silent_since:.0f} s")
            self._silent_since, self._submit_at = 0.0, 0.0
        self._queue = {e.number: e for e in found}

    def _has_ended(self, info: SubmittedJobInfo) -> bool:
        """Report a job that has ended; False if it is alive or will be submitted again."""
        mine: Submission = info.aux["submission"]
        assert self._queue is not None
        entry = self._queue.get(mine.number)
        if entry is None:  # SLURM has forgotten it; twice, because an answer may be older than the submission
            mine.missing += 1
            if mine.missing < 2:
                return False
            entry = Entry(mine.number, self._forgotten(mine), "", "", "")
        mine.missing = 0
        if entry.state not in slurm.ENDED:
            if entry.reason == "BadConstraints" and slurm.cancel(
                [mine.number]
            ):  # held for good: the cluster has changed
                mine.number = ""  # submitting it again tells whether SLURM still takes it
                self._wait()
            else:
                self._look_at(mine, entry)
            return False
        self._numbers.discard(mine.number)
        self._submit_at, self._pause = 0.0, LEAST_PAUSE  # there is room for another
        left = mine.file("again")
        if entry.state in slurm.INNOCENT or left.exists():
            why = left.read_text().strip() if left.exists() else f"{entry.state.lower().replace('_', ' ')}"
            self.logger.warning(f"SLURM job {mine.number} ({mine.what}): {why}; it is submitted again")
            mine.number = ""
            return False
        if self._is_full():  # Snakemake writes after a success, and the log of a failure may be cut off
            mine.number = mine.number if entry.state == "COMPLETED" else ""
            return False
        if entry.state == "COMPLETED":
            for suffix in ("log", "exit", "again"):
                mine.file(suffix).unlink(missing_ok=True)
            (mine.folder / slurm.FAILURE).unlink(missing_ok=True)
            self.report_job_success(info)
            return True
        reason = self._why(mine, entry)
        log = str(mine.file("log"))
        self._remember(mine, reason, log)
        self.report_job_error(info, msg=f"SLURM job {mine.number}: {reason}. ", aux_logs=[log])
        return True

    def _is_full(self) -> bool:
        """Whether the run's folder has no space left; says so once."""
        try:
            with tempfile.TemporaryFile(dir=self._logs) as stream:
                stream.write(bytes(ROOM))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as problem:
            self._notice("space", f"{Path.cwd()}: {problem.strerror}; jobs are submitted again once some space is free")
            return True
        self._notice("space", "")
        return False

    def _remember(self, mine: Submission, reason: str, log: str) -> None:
        """Write why a submission failed, for `status`; if nothing can be written, the message has to suffice."""
        with contextlib.suppress(OSError):
            record = {"job": mine.number, "comment": mine.comment, "reason": reason, "log": log}
            (mine.folder / slurm.FAILURE).write_text(json.dumps(record))

    def _forgotten(self, mine: Submission) -> str:
        """Return the final state of a job that the controller has forgotten."""
        try:
            return "COMPLETED" if mine.file("exit").read_text().strip() == "0" else "FAILED"
        except OSError:
            found = slurm.last_state(mine.number)
            return found if found in slurm.ENDED else "FAILED"

    def _why(self, mine: Submission, entry: Entry) -> str:
        """Return the reason for a failure, in one line."""
        state = entry.state.lower().replace("_", " ")
        where = f" on {entry.node}" if entry.node else ""
        said = slurm.last_word(mine.file("log"))
        if said:
            return f"{state}{where}: {said}"
        return f"{state}{where} without output{f' ({entry.reason})' if entry.reason not in ('', 'None') else ''}"

    def _look_at(self, mine: Submission, entry: Entry) -> None:
        """Say that a job will never start, once for each reason."""
        stuck = entry.reason if entry.state == "PENDING" and slurm.will_not_pass(entry.reason) else ""
        if stuck and stuck not in self._refused:
            self._refused.add(stuck)
            self.logger.error(
                f"SLURM job {mine.number} ({mine.what}) will not start: {stuck}; "
                f"reduce the request in slurm/cluster.yaml, then run: scancel {mine.number}"
            )

    def _submitted(self, info: SubmittedJobInfo) -> bool:
        """Submit a job that is not submitted yet; report it and return False if SLURM will never accept it."""
        mine: Submission = info.aux["submission"]
        if mine.number or self._queue is None or time.monotonic() < self._submit_at:
            return True
        alive = next(
            (e for e in self._queue.values() if e.comment == mine.comment and e.state not in slurm.ENDED), None
        )
        if alive and alive.number not in self._numbers:
            self._numbers.add(alive.number)
            mine.number = alive.number
            self.logger.warning(f"Job {info.job.jobid} is SLURM job {mine.number} of an earlier run, which continues.")
            return True
        rule, cells = queue.job_of(mine.comment)
        holder = batches.holder(cells)
        if holder != mine.holder:
            mine.holder = holder
            if holder:
                self.logger.warning(
                    f"Job {info.job.jobid} ({rule}) waits until {holder}, which trains its cells, ends."
                )
        if holder:
            return True
        if self._is_full():
            self._wait()
            return True
        try:
            mine.folder.mkdir(parents=True, exist_ok=True)
            with self._submitting:
                if self._is_cancelled:
                    return True
                mine.number = slurm.submit(self._options(info.job, mine), self._script(info.job, mine))
                self._numbers.add(mine.number)
        except (Refused, OSError) as problem:  # OSError: the disk became full after the check
            refused = problem if isinstance(problem, Refused) else Refused(f"{mine.folder}: {problem.strerror}")
            if refused.is_final:
                self._give_up(info, str(refused))
                return False
            self._notice("submission", f"SLURM accepts no more jobs for now: {refused}; Snakemake keeps trying")
            self._wait()
            return True
        self._pause = LEAST_PAUSE
        self._notice("submission", "")
        self.logger.info(
            f"Job {info.job.jobid} has been submitted as SLURM job {mine.number} (log: {mine.file('log')})."
        )
        return True

    def _wait(self) -> None:
        """Pause submissions, longer each time."""
        self._submit_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 1.5, MOST_PAUSE)

    def _give_up(self, info: SubmittedJobInfo, text: str) -> None:
        """Report a job that SLURM will never accept: one line for each reason, and no further attempt."""
        mine: Submission = info.aux["submission"]
        self._remember(mine, f"SLURM refuses it: {text}", "")
        if text not in self._refused:
            self._refused.add(text)
            options = shlex.join(self._options(info.job, mine))
            self.logger.error(f"bnonly: error: SLURM refuses {mine.what}: {text} (sbatch {options})")
        info.job.attempt = max(info.job.attempt, info.job.restart_times + 1)
        self.workflow.scheduler.error_callback(info.job)

    def _options(self, job: JobExecutorInterface, mine: Submission) -> list[str]:
        resources = job.resources
        return [
            f"--job-name={self._name}",
            f"--comment={mine.comment}",
            f"--output={mine.folder}/%j.log",
            "--requeue",
            "--open-mode=append",
            f"--time={resources.runtime}",
            f"--mem={resources.mem_mb}",
            *shlex.split(resources.get("slurm", "")),
        ]

    def _script(self, job: JobExecutorInterface, mine: Submission) -> str:
        """Return a script that runs the job as a step, so that SLURM signals it before the time limit, and writes its exit status to a file."""
        own = f"{shlex.quote(str(mine.folder))}/$SLURM_JOB_ID"
        return (
            f"#!/bin/sh\nexport {slurm.SUBMISSION}={own}\nrm -f {own}.again\n"
            f"srun --ntasks=1 --cpus-per-task=${{SLURM_CPUS_PER_TASK:-1}} sh -c {shlex.quote(self.format_job_exec(job))}\n"
            f"status=$?\necho $status > {own}.exit\nexit $status\n"
        )

    def _notice(self, about: str, text: str) -> None:
        """Say what the executor waits for, when that changes, and write it to a file for `status`."""
        if self._notices.get(about, "") == text:
            return
        self._notices[about] = text
        lines = [t for t in self._notices.values() if t]
        with contextlib.suppress(OSError):  # a full disk: the log has the message
            self._notice_file.write_text("".join(f"{line}\n" for line in lines))
        if text:
            self.logger.warning(text)
