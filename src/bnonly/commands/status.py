"""``bnonly status`` and ``cells``: the state of each cell, figure and table of a grid."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.cluster import queue, slurm
from bnonly.commands import setup
from bnonly.commands.expected import Expected
from bnonly.commands.gpus import Devices
from bnonly.console import columns, duration, plain
from bnonly.errors import UserError
from bnonly.figures import outputs, staleness
from bnonly.figures.needs import Request
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.results import atomic
from bnonly.results.state import FINISHED, STATES, CellStatus, look

if TYPE_CHECKING:
    from bnonly.commands.setup import Commands


#: The file of each rule that one submission runs for the whole run.
_WHOLE_RUN = {"counts": paths.counts(), "claims": paths.CLAIMS, "report": paths.REPORT}


def add(commands: Commands) -> None:
    """Add the commands."""
    status = setup.command(
        commands,
        "status",
        run_status,
        "list the state of cells, figures and tables, and the commands that retry failures",
        tells=True,
    )
    status.add_argument("--outputs", action="store_true", help="print one line for each figure and table")
    cells = setup.command(commands, "cells", run_cells, "list the cells of the grid with their digests", tells=True)
    cells.add_argument("--figure", metavar="NAME", help="only the cells behind a figure or table, for example fig05")
    cells.add_argument("--all", action="store_true", help="include cells that are made on request only")


def run_status(options: argparse.Namespace) -> int:
    """Print the state of the run."""
    run = setup.read(options)
    found = survey(run.grid, setup.workflow(options))
    setup.tell(options, asdict(found), lambda: table(found, options.outputs))
    return 0


def run_cells(options: argparse.Namespace) -> int:
    """List cells with their digests."""
    run = setup.read(options)
    if options.figure:
        keys = list(outputs.ask(run.grid, options.figure).cells())
    else:
        chosen = run.grid.cells if options.all else run.grid.on_default()
        keys = [key for key in run.grid.cells if key in chosen]
    digests = {str(key.folder): run.grid.cells[key].digest() for key in keys}
    setup.tell(options, digests, lambda: "\n".join(f"{digest} {folder}" for folder, digest in digests.items()))
    print(f"{len(keys)} cells", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class Failure:
    """A failure, its reason, its log, and the command that retries it."""

    what: str
    reason: str
    log: str | None
    retry: str


@dataclass(frozen=True)
class Status:
    """The state of a grid.

    Attributes
    ----------
    run : str
        The configuration's title.
    experiments : dict
        By name: the number of cells in each state; "seconds_left" is their training time, one after another; "shared" is the
        number of cells that an earlier experiment has too.
    outputs : dict
        By figure or table: "state" (drawn, stale, damaged, ready to draw, waiting, failed, impossible with this grid), "cells", "finished",
        "seconds_left".
    cells : list of CellStatus
        All cells.
    failures : list of Failure
        All failures.
    waits_for : list of str
        Causes of waiting outside its jobs: SLURM's controller, a limit on submissions.
    seconds_left : float
        Training time left for figures and tables, one cell after another.
    device : str
        The device of these times, as the cost model names it.
    """

    run: str
    experiments: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    cells: list[CellStatus]
    failures: list[Failure]
    waits_for: list[str]
    seconds_left: float
    device: str


def survey(grid: Grid, command: str = "snakemake") -> Status:
    """Collect the state of all cells, figures and tables of a grid.

    Parameters
    ----------
    grid : Grid
        The grid.
    command : str
        The command that starts the workflow; retry commands begin with it.
    """
    jobs = {key: job for job in queue.jobs() for key in job.cells}
    expected = Expected(grid, None if grid.cluster else Devices.of(grid, os.cpu_count() or 1))
    by_key = {key: look(cell, jobs.get(key), expected.seconds(cell)) for key, cell in grid.cells.items()}
    experiments: dict[str, dict[str, Any]] = {}
    earlier: set[Key] = set()
    for experiment in grid.experiments.values():
        keys = set(grid.keys_of(experiment))
        found = [by_key[k] for k in keys]
        count = Counter(s.state for s in found)
        experiments[experiment.name] = {
            "cells": len(found),
            **{s: count[s] for s in STATES},
            "seconds_left": _sum(found),
            "on_request": experiment.on_request,
            "shared": len(keys & earlier),
        }
        earlier |= keys
    failures = [
        Failure(s.cell, s.detail, s.log, f"{command} {paths.metrics(key.folder)}")
        for key, s in by_key.items()
        if s.state == "failed"
    ]
    drawn: dict[str, dict[str, Any]] = {}
    behind: set[Key] = set()
    for name in outputs.wanted(grid):
        try:
            asked = outputs.ask(grid, name)
        except UserError as problem:
            drawn[name] = {
                "state": "impossible",
                "cells": 0,
                "finished": 0,
                "seconds_left": None,
                "reason": str(problem),
            }
            continue
        needed = asked.cells()
        behind.update(needed)
        entry, error = _output(name, asked, [by_key[k] for k in needed])
        drawn[name] = entry
        if error:
            failures.append(Failure(name, error, f"logs/{_kind(name)}/{name}.log", f"{command} {name}"))
    failures += _failed_analyses(by_key, command)
    failures += _failed_submissions(by_key, drawn, {f.what for f in failures}, command)
    left = _sum([by_key[k] for k in behind])
    return Status(
        grid.title, experiments, drawn, list(by_key.values()), failures, slurm.notices(), left, expected.device
    )


def _sum(cells: list[CellStatus]) -> float:
    """Return the training time left of some cells, one after another."""
    return sum(s.seconds_left or 0.0 for s in cells if s.state not in FINISHED)


def _kind(name: str) -> str:
    return "figures" if outputs.files(name)[0].startswith("figures/") else "tables"


def _output(name: str, asked: Request, cells: list[CellStatus]) -> tuple[dict[str, Any], str | None]:
    """Return the entry of a figure or table, and the reason if drawing failed."""
    finished = sum(s.state in FINISHED for s in cells)
    problem = None
    fault = staleness.fault_of(asked)
    if not fault:
        state = "drawn"
    elif fault.kind != "missing":
        state = fault.kind
    elif finished < len(cells):
        state = "waiting"
    else:
        problem = _error_in(Path(f"logs/{_kind(name)}/{name}.log"))
        state = "failed" if problem else "ready"
    return {"state": state, "cells": len(cells), "finished": finished, "seconds_left": _sum(cells)}, problem


def _failed_analyses(by_key: dict[Key, CellStatus], command: str) -> Iterator[Failure]:
    for key, status in by_key.items():
        log = key.log("analyse")
        wanted = paths.clamping(key.folder)
        if status.state in FINISHED and log.exists() and not wanted.exists() and (problem := _error_in(log)):
            yield Failure(f"analysis of {status.cell}", problem, str(log), f"{command} {wanted}")


def _failed_submissions(
    by_key: dict[Key, CellStatus], drawn: dict[str, dict[str, Any]], known: set[str], command: str
) -> Iterator[Failure]:
    """Yield jobs that ended before their commands could report a reason."""
    for record in slurm.failures():
        rule, cells = queue.job_of(record["comment"])
        wildcards = record["comment"].partition(" ")[2].rpartition(" ")[0]
        what = target = wildcards.replace("+", "/")  # of a figure: beyond/affine
        if cells:
            lost = [k for k in cells if k in by_key and by_key[k].state in ("missing", "paused", "stale")]
            what, target = ", ".join(by_key[k].cell for k in lost), " ".join(str(paths.metrics(k.folder)) for k in lost)
        elif rule in _WHOLE_RUN:
            target = str(_WHOLE_RUN[rule])
            what = "" if Path(target).exists() else rule
        elif rule not in ("figure", "table") or drawn.get(what, {}).get("state") == "drawn":
            what = ""
        if what and what not in known:
            yield Failure(what, record["reason"], record["log"] or None, f"{command} {target}")


def _error_in(log: Path) -> str | None:
    """Return the error line of a failed command."""
    try:
        lines = atomic.read(log).decode(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1].removeprefix("bnonly: error: ") if lines and lines[-1].startswith("bnonly: error: ") else None


def table(status: Status, each_output: bool = False) -> str:
    """Return a status as text; `each_output` gives every figure and table a line of its own."""
    shown = [s for s in STATES if s in FINISHED[:1] or any(e[s] for e in status.experiments.values())]
    width = max(14, *(len(n) for n in status.experiments))
    lines = [f"{'experiment':<{width}} {'cells':>6} " + " ".join(f"{s:>8}" for s in shown) + "   training left"]
    for name, entry in status.experiments.items():
        notes = [f"{entry['shared']} shared with rows above"] if entry["shared"] else []
        notes += ["on request"] if entry["on_request"] else []
        note = f"   ({'; '.join(notes)})" if notes else ""
        counts = " ".join(f"{entry[s]:>8}" for s in shown)
        lines.append(f"{name:<{width}} {entry['cells']:>6} {counts}   {_left(entry['seconds_left'])}{note}")
    lines += ["", *(_each_output(status) if each_output else _outputs(status))]
    under_way = [s for s in status.cells if s.state == "running"]
    for s in under_way[:20]:
        left = "" if s.seconds_left is None else f", {duration(s.seconds_left)} left"
        far = "starting" if s.epoch is None else f"epoch {s.epoch}/{s.epochs}{left}"
        lines.append(f"running:  {s.cell}: {far} ({s.detail})")
    if len(under_way) > 20:
        lines.append(f"          and {len(under_way) - 20} more (--json lists all)")
    if status.seconds_left:
        total = f"about {duration(status.seconds_left)} one after another on {status.device}"
        shared = (
            f"; {duration(status.seconds_left / len(under_way))} with the {len(under_way)} that train now"
            if len(under_way) > 1
            else ""
        )
        lines.append(f"left:     {total}{shared}")
    for detail, count in Counter(s.detail for s in status.cells if s.state == "queued").most_common(10):
        lines.append(f"queued:   {count} {detail}")
    lines += [f"waits:    {text}" for text in status.waits_for]
    for state in ("stale", "damaged"):
        names = [s.cell for s in status.cells if s.state == state]
        if names:
            lines.append(
                f"{state + ':':<9} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
            )
    for f in status.failures[:50]:
        lines += [
            f"failed:   {f.what}: {f.reason}",
            *([f"          log:   {paths.shown(f.log)}"] if f.log else []),
            f"          again: {f.retry}",
        ]
    if len(status.failures) > 50:
        lines.append(f"          and {len(status.failures) - 50} more failures (--json lists all)")
    # Other programs wrote the reasons, hosts and jobs: strip control codes that a terminal would obey.
    return "\n".join(plain(line) for line in lines)


def _outputs(status: Status) -> Iterator[str]:
    by_state: dict[str, list[str]] = {}
    for name, entry in status.outputs.items():
        by_state.setdefault(entry["state"], []).append(name)
    waiting = len(by_state.pop("waiting", ()))
    for state, names in by_state.items():
        yield f"{state + ':':<9} {', '.join(names)}"
    if waiting:
        what = "1 figure or table waits" if waiting == 1 else f"{waiting} figures and tables wait"
        yield f"waiting:  {what} for training (--outputs lists them)"


def _each_output(status: Status) -> list[str]:
    rows = [["figure or table", "state", "trained", "training left"]]
    for name, entry in status.outputs.items():
        trained = f"{entry['finished']}/{entry['cells']}"
        rows.append([name, entry["state"], trained, _left(entry["seconds_left"])])
    return columns(rows, left=(0, 1, 3))


def _left(seconds: float | None) -> str:
    return duration(seconds) if seconds else "-"
