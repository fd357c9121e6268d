"""Snakemake's progress as a person reads it: a line for each finished job, a bar with the time left, failures with their remedy.

Snakemake's own log file (.snakemake/log) stays whole.  Without a terminal there is no bar,
but a line with the time left at the start and every few minutes.  The Snakefile hands over the plan
(`bnonly.workflow.Plan`), which knows the cells and what they cost.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from pathlib import Path
from signal import Signals
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from bnonly import paths
from bnonly.console import duration, listed
from bnonly.errors import accepted
from bnonly.figures import outputs
from bnonly.workflow import Plan

#: Messages of Snakemake without an event that a person needs.
SHOWN = ("Nothing to be done", "This was a dry-run", "Complete log", "Unlocking", "Congratulations", "Lints for")
#: How Snakemake says that Ctrl-C or SIGTERM stops it; after SIGTERM it waits for the running jobs.
TERMINATING, FINISHING = "Terminating processes on user request", "Will exit after finishing"
#: How it says that a job received the signal too.
SIGNALLED = re.compile(r"died with <Signals\.SIG(INT|TERM)|non-zero exit status (130|143)\b")
#: How it says that a job's command failed, and that a signal ended it; the status is the shell's, 128 plus the signal's number.
COMMAND, KILLED = "CalledProcessError", re.compile(r"died with <Signals\.(\w+)|non-zero exit status (129|1[345]\d)\b")
#: How it ends after a stop or a failure, of which the last lines say more.
INCOMPLETE = "At least one job did not complete successfully"
#: What the last line counts, by rule.
COUNTED = {"train": "training", "collect": "training", "analyse": "analysis", "figure": "figure", "table": "table"}
#: Lines of a failed job's log that are shown.
TAIL = 8
#: Seconds between two lines with the time left, without a terminal.
EVERY = 180.0
#: Figures and tables that the last line names.
NAMED = 5


@dataclass
class _Job:
    """A job that has started."""

    rule: str
    title: str
    wildcards: Mapping[str, str]
    log: list[str]
    began: float = field(default_factory=time.monotonic)


class LogHandler(LogHandlerBase):
    """Writes to standard error, with Snakemake's filter, so that --quiet is obeyed, and Snakemake's formatter for its errors."""

    writes_to_stream = True
    writes_to_file = has_filter = has_formatter = needs_rulegraph = False

    def __post_init__(self) -> None:
        self._live = sys.stderr.isatty() and not self.common_settings.dryrun
        self._start = Path.cwd()
        self._plan: Plan | None = None
        self._left: dict[tuple[str, str], float] = {}  # seconds of what is to be done, by rule and wildcards
        self._all = self._total = self._done = 0.0
        self._began = self._estimated = time.monotonic()
        self._running: dict[int, _Job] = {}
        self._made: Counter[str] = Counter()
        self._drawn: list[str] = []  # the files to look at
        self._failed: dict[str, str] = {}  # why, by title
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._planned: list[_Job] = []
        self._said_stats = self._stopped = False
        self._folder = self._start

    def follow(self, plan: Plan, jobs: Iterable[tuple[str, Mapping[str, str]]] = ()) -> None:
        """Learn the plan, and at the start what is to be done: rule and wildcards of every job."""
        self._plan = plan
        self._left = {_identity(rule, wildcards): plan.seconds(rule, wildcards) for rule, wildcards in jobs}
        self._all = sum(self._left.values())
        self._began = time.monotonic()
        if self._left:
            self._total = self._total or float(len(self._left))
            self._estimate()

    def emit(self, record: LogRecord) -> None:
        """Show a record, or remember it."""
        try:
            event = getattr(record, "event", None)
            known = (
                {
                    LogEvent.JOB_INFO: self._started,
                    LogEvent.JOB_FINISHED: self._finished,
                    LogEvent.JOB_ERROR: self._error,
                    LogEvent.RUN_INFO: self._stats,
                    LogEvent.PROGRESS: self._progress,
                }.get(event)
                if event
                else None
            )
            if known:
                known(record)
            elif not event and str(record.msg).startswith((TERMINATING, FINISHING)):
                self._stop(" when the running jobs have finished" if str(record.msg).startswith(FINISHING) else "")
            elif record.levelno >= WARNING or (not event and str(record.msg).startswith(SHOWN)):
                self._message(record)
            self._bar()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Say what was made and where to look."""
        self._clear()
        if self._made and not self.common_settings.dryrun:
            made = [_count(n, COUNTED[rule]) for rule, n in self._made.items() if rule in COUNTED]
            print(f"made in {duration(time.monotonic() - self._began)}: {listed(made) or 'the rest'}", file=sys.stderr)
            if look := self._look():
                print(f"see: {look}", file=sys.stderr)
        for title, reason in self._failed.items():
            print(f"failed: {title}: {reason}", file=sys.stderr)
        if self._stopped:
            print("stopped; the same command resumes the run", file=sys.stderr)
        elif self._failed:
            print("the same command retries what failed and keeps what is finished", file=sys.stderr)
        self._made.clear()
        self._failed.clear()
        self._stopped = False
        super().close()

    def _message(self, record: LogRecord) -> None:
        self._plan_of_dry_run(record)
        text = self.format(record)
        if SIGNALLED.search(text):
            self._stop()
        elif COMMAND in text:  # the job's own error follows, with the end of its log
            if not self._stopped and (found := KILLED.search(text)):
                name = found[1] or Signals(int(found[2]) - 128).name
                self._say(f"a command was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}")
        elif INCOMPLETE not in text or not (self._stopped or self._failed):
            self._say(_ours(text) or text)
            self._suggest(text)

    def _stop(self, when: str = "") -> None:
        if not self._stopped:
            self._say(f"stopping{when}")
        self._stopped = True

    def _look(self) -> str:
        """Return what to look at, from where the user is; empty if nothing was drawn."""
        where = Path(os.path.relpath(self._folder, self._start))
        for rule, file in (("report", paths.REPORT), ("manifest", paths.FIGURES)):
            if self._made[rule]:
                return str(where / file)
        others = len(self._drawn) - NAMED
        return listed([str(where / file) for file in self._drawn[:NAMED]] + [f"{others} more"] * (others > 0))

    def _suggest(self, text: str) -> None:
        """Say what a misspelt target may be."""
        for target in re.findall(r"No rule to produce (\S+)", text):
            if self._plan:
                self._say(f"bnonly: no target '{target}'; {accepted(target, self._plan.targets)}")

    def _started(self, record: Any) -> None:
        job = _Job(
            record.rule_name, record.rule_msg or record.rule_name, dict(record.wildcards or {}), list(record.log)
        )
        if self.common_settings.dryrun:
            self._planned.append(job)
            self._reasons[(record.rule_name, _short(record.reason))] += 1
        else:
            self._running[record.jobid] = job
            self._folder = Path.cwd()

    def _finished(self, record: Any) -> None:
        if job := self._running.pop(record.job_id, None):
            self._made[job.rule] += 1
            self._left.pop(_identity(job.rule, job.wildcards), None)
            self._failed.pop(job.title, None)
            self._done += 1
            if job.rule in ("figure", "table"):
                self._drawn += [f for f in outputs.files(job.wildcards["name"]) if f.endswith((".png", ".md"))]
            result = self._plan.result(job.rule, job.wildcards) if self._plan else ""
            count = f"{self._done:.0f}/{self._total:.0f}" if self._total else f"{self._done:.0f}"
            took = duration(time.monotonic() - job.began)
            self._say(f"{time.strftime('%H:%M:%S')}  {count:>9}  {job.title}{result} ({took})")
            if self._done < self._total and time.monotonic() - self._estimated >= EVERY:
                self._estimate()

    def _error(self, record: Any) -> None:
        job = self._running.pop(record.jobid, None)
        title = job.title if job else record.rule_name
        logs = [Path(file.partition(" (")[0]) for file in record.log]
        lines = next((t for t in map(_tail, logs) if t), [])
        ours = [line for line in lines if "bnonly: error: " in line]
        if self._stopped and not ours:
            self._say(f"{time.strftime('%H:%M:%S')}    stopped  {title}")
            return
        if said := (getattr(record, "rule_msg", None) or "").strip():  # SLURM's reason
            lines = [*lines, said]
        reason = (ours or lines or ["no log was written"])[-1]
        self._failed[title] = reason.removeprefix("bnonly: error: ")
        self._say("\n".join([f"{time.strftime('%H:%M:%S')}     FAILED  {title}", *(f"    {line}" for line in lines)]))
        for log in logs:
            self._say(f"    log: {os.path.relpath(log.absolute(), self._start)}")

    def _stats(self, record: Any) -> None:
        self._total = float(record.stats.get("total", 0))
        if not self._said_stats:
            self._say(str(record.msg).rstrip() + "\n")
        self._said_stats = True

    def _progress(self, record: Any) -> None:
        self._done, self._total = float(record.done), float(record.total)

    def _plan_of_dry_run(self, record: LogRecord) -> None:
        """Say what a dry run found, job by job known now: trainings, hours, and why they are to be done."""
        if not self._planned:
            return
        if self._plan:
            cells = [j for j in self._planned if j.rule in ("train", "batch")]
            seconds = sum(self._plan.seconds(j.rule, j.wildcards) for j in cells)
            if cells:
                several = f"; {self._plan.at_a_time} run at a time" if self._plan.at_a_time > 1 else ""
                self._say(
                    f"training: about {duration(seconds)} one after another on {self._plan.expected.device}{several}"
                )
            if self._plan.note:
                self._say(self._plan.note)
        for (rule, reason), count in sorted(self._reasons.items()):
            self._say(f"{count:>6} {rule}: {reason}")
        self._say("")
        self._planned.clear()

    def _bar(self) -> None:
        if not self._live or not self._total:
            return
        width = shutil.get_terminal_size().columns - 1
        filled = round(20 * self._share())
        names = ", ".join(j.title for j in self._running.values())
        text = f"[{'#' * filled}{'-' * (20 - filled)}] {self._done:.0f}/{self._total:.0f}{self._time_left()} {names}"
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def _estimate(self) -> None:
        """Say the time left where no bar says it."""
        self._estimated = time.monotonic()
        if not self._live:
            self._say(f"{self._done:.0f} of {self._total:.0f} done{self._time_left()}")

    def _share(self) -> float:
        return 1 - sum(self._left.values()) / self._all if self._all else self._done / self._total

    def _time_left(self) -> str:
        """Return the time left: as the cost model says it, then as the finished jobs compare with that."""
        if not self._plan or not self._all:
            return ""
        share = self._share()
        elapsed = time.monotonic() - self._began
        left = elapsed * (1 - share) / share if share > 0.02 else self._all / self._plan.at_a_time
        return f", about {duration(left)} left"

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _say(self, text: str) -> None:
        self._clear()
        print(text, file=sys.stderr, flush=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what.replace('analysis', 'analyse')}s"


def _identity(rule: str, wildcards: Mapping[str, str]) -> tuple[str, str]:
    return rule, " ".join(f"{k}={wildcards[k]}" for k in sorted(wildcards))


def _short(reason: str) -> str:
    """Return why a job is to be done, without the names of files."""
    parts = [part.split(":")[0].strip() for part in reason.split(";")]
    return ", ".join(dict.fromkeys(p[0].lower() + p[1:] for p in parts if p)) or "requested"


def _ours(text: str) -> str:
    """Return only our own errors of a message of Snakemake; some are names of missing files (`bnonly.workflow`)."""
    found = re.findall(r"^\s*\((bnonly: error: .*)\)$|^(bnonly: error: .*)$", text, re.MULTILINE)
    return "\n".join(dict.fromkeys(file or line for file, line in found))


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").strip().splitlines()[-TAIL:]
    except OSError:
        return []
