"""Checks before the first submission to a cluster (standard library and yaml only)."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bnonly import paths
from bnonly.cluster import limits, queue, slurm
from bnonly.cluster.requests import Requests, setting
from bnonly.cost.training import count_training
from bnonly.errors import UserError, accepted
from bnonly.figures import outputs
from bnonly.grid.cell import Cell, Key
from bnonly.grid.datasets import DATASETS, DOWNLOADED
from bnonly.grid.resolve import Grid
from bnonly.grid.sections import Cluster

#: Types of file systems that other nodes share.
SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "cephfs", "panfs", "afs", "9p", "wekafs", "pvfs2", "orangefs",
          "glusterfs", "fuse.glusterfs", "cifs", "smb3", "ocfs2", "gfs2", "vast", "virtiofs", "fuse.sshfs", "fhgfs"}  # fmt: skip
#: Free bytes required beyond the size of the results.
SPARE_BYTES = 1_000_000_000

#: Seconds before a controller that does not answer is asked again.
PAUSE = 5


@dataclass(frozen=True)
class Finding:
    """The result of one check: a problem stops the workflow, a note does not."""

    is_problem: bool
    text: str


def check(grid: Grid, data: Path) -> list[Finding]:
    """Run all checks that need no job.

    Parameters
    ----------
    grid : Grid
        The grid, with its `cluster`.
    data : Path
        Folder of prepared data.

    Returns
    -------
    list of Finding
        Problems first; one line each.
    """
    found: list[Finding] = []
    try:
        requests = Requests(grid)
    except UserError as problem:
        return [Finding(True, str(problem))]
    cluster = grid.cluster
    assert cluster is not None
    cells = [grid.cells[k] for k in sorted(_wanted(grid))]
    found += (Finding(True, text) for text in _folder_problems(cells))
    missing = [p for p in ("sbatch", "squeue", "sinfo", "scancel") if not shutil.which(p)]
    if missing:
        found.append(Finding(True, f"{', '.join(missing)}: not found; run this on the cluster's login node"))
    else:
        gpus = max((c.recipe.gpus for c in cells), default=1)
        asked = {
            "cpu": cluster.cpus * gpus,
            "mem": requests.memory_mb(gpus=gpus),
            "gres/gpu": 0 if cluster.gpu == "none" else gpus,
        }
        problems = [*_partition_problems(grid, cluster, asked), *_account_problems(grid, cluster)]
        found += (Finding(True, text) for text in problems)
        # SLURM's answer comes last, because it is the least clear.
        found += [] if problems else _refusals(requests, cells)
        found += _not_shared()
        found += (Finding(False, text) for text in _notes(cluster))
    found += _data(cells, data)
    return sorted(found, key=lambda f: not f.is_problem)


def wait_for_controller() -> None:
    """Wait for as long as SLURM's controller does not answer, and then for its nodes; say so once."""
    if not slurm.is_away():
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"bnonly: SLURM's controller has not answered since {since}; waiting for it", file=sys.stderr, flush=True)
    while slurm.is_away() or re.search(
        r"unk|(idle|mix|alloc)\*", slurm.call("sinfo", "--noheader", "--format=%t") or ""
    ):
        time.sleep(PAUSE)


def preflight(grid: Grid, data: Path, probe: bool, command: str) -> int:
    """Print the findings of `check`, and with `probe` those of a job on a compute node; return an exit status.

    `command` begins the command that starts the workflow.
    """
    found = check(grid, data)
    if probe and not any(f.is_problem for f in found):
        found += _probe(grid, data)
    for finding in found:
        print(
            f"bnonly: {'error' if finding.is_problem else 'note'}: {finding.text}",
            file=sys.stderr if finding.is_problem else sys.stdout,
        )
    if any(f.is_problem for f in found):
        return 2
    print(f"ready: {command} figures/all" + ("" if probe else "   (--probe also checks a compute node)"))
    return 0


def _wanted(grid: Grid) -> set[Key]:
    return {key for name in outputs.wanted(grid) for key in outputs.ask(grid, name).cells()}


def _partition_problems(grid: Grid, cluster: Cluster, asked: Mapping[str, float]) -> Iterator[str]:
    text = slurm.call("sinfo", "--noheader", "--format=%P|%l|%G|%a")
    if text is None:
        yield "sinfo does not answer; is SLURM's controller running?"
        return
    rows = [line.strip().split("|") for line in text.splitlines()]
    known = {name.rstrip("*"): limits.seconds(limit) for name, limit, _, _ in rows}
    default = next((r[0].rstrip("*") for r in rows if r[0].endswith("*")), "")
    for key, name in (("partition", cluster.partition), ("cpu_partition", cluster.cpu_partition or cluster.partition)):
        if name and name not in known:
            yield f"{setting(grid, key)} is '{name}', which is not a partition; {accepted(name, known)}"
            return
        if not name and not default:
            yield f"{setting(grid, key)} is empty, and this cluster has no default partition; {accepted('', known)}"
            return
    name = cluster.partition or default
    allowed = limits.find(cluster.account, cluster.qos, name)
    hours, whose = min([(known[name] / 3600, f"partition {name}"), *((a.hours, a.whose) for a in allowed)])
    if hours < cluster.max_hours - 1 / 3600:
        yield f"{setting(grid, 'max_hours')} must be at most {hours:.3g}, the limit of {whose} (got {cluster.max_hours:g})"
    yield from (f"{grid.source}: a training is too large: {text}" for text in limits.too_much(allowed, asked))
    there = [row[2] for row in rows if row[0].rstrip("*") == name]
    types = {t for text in there for t in re.findall(r"\bgpu:([^:(,]+):\d+", text)}
    if cluster.gpu != "none" and not any("gpu:" in text for text in there):
        with_gpu = sorted({r[0].rstrip("*") for r in rows if "gpu" in r[2]})
        yield (
            f"{grid.source}: partition {name} has no GPUs; name a partition with GPUs in cluster.partition ({', '.join(with_gpu) or 'there is none'}), "
            "or set cluster.gpu to none"
        )
    elif cluster.gpu not in ("any", "none") and cluster.gpu not in types:
        yield f"{setting(grid, 'gpu')} is '{cluster.gpu}', which partition {name} does not have; {accepted(cluster.gpu, sorted(types) or ['any'])}"


def _account_problems(grid: Grid, cluster: Cluster) -> Iterator[str]:
    text = slurm.call(
        "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}", "format=account"
    )
    accounts = sorted(set((text or "").split()))
    if cluster.account and accounts and cluster.account.lower() not in map(str.lower, accounts):
        yield f"{setting(grid, 'account')} is '{cluster.account}', which is not one of your accounts; {accepted(cluster.account, accounts)}"


def _refusals(requests: Requests, cells: list[Cell]) -> Iterator[Finding]:
    """Yield SLURM's objections to the requests of a training and of a figure; those that may pass are notes."""
    gpus = max((c.recipe.gpus for c in cells), default=1)
    minutes = max((requests.minutes([c]) for c in cells), default=60)
    asked = {
        "a training": _asked(requests.options(gpus=gpus), minutes, requests.memory_mb(gpus=gpus)),
        "a figure": _asked(requests.options(computes=False), 30, 4000),
    }
    for what, options in asked.items():
        error = _tested(options)
        if error:
            yield Finding(slurm.Refused(error).is_final, f"SLURM refuses {what} ({shlex.join(options)}): {error}")


def _asked(options: str, minutes: int, memory_mb: int) -> list[str]:
    """Return sbatch's options for a job, as the executor passes them."""
    return [*shlex.split(options), f"--time={minutes}", f"--mem={memory_mb}"]


def _tested(options: list[str]) -> str | None:
    """Return SLURM's objection to a request; None if it accepts."""
    import subprocess

    try:
        done = subprocess.run(
            ["sbatch", "--test-only", *options, "--wrap=true"], capture_output=True, text=True, timeout=60, cwd="/"
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.split()).replace("sbatch: error: ", "").replace("allocation failure: ", "")


def _folder_problems(cells: list[Cell]) -> Iterator[str]:
    """Yield the reasons why results cannot be written."""
    here = Path.cwd()
    needed = sum(count_training(c).disk_bytes for c in cells if not paths.metrics(c.key.folder).exists())
    try:
        paths.RESULTS.mkdir(parents=True, exist_ok=True)
        # Only writing shows a quota; the free space does not.
        with tempfile.NamedTemporaryFile(dir=paths.RESULTS, prefix=".preflight.") as stream:
            stream.write(os.urandom(2_000_000))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as problem:
        yield f"{here / paths.RESULTS}: cannot be written: {problem.strerror}; free some space, or run in a folder with more space (--directory)"
        return
    free = shutil.disk_usage(paths.RESULTS).free
    if free < needed + SPARE_BYTES:
        yield (
            f"{here / paths.RESULTS}: {free / 1e9:.1f} GB are free, {(needed + SPARE_BYTES) / 1e9:.1f} GB are needed for results and "
            "checkpoints; free some space, or run in a folder with more space (--directory)"
        )


def _not_shared() -> Iterator[Finding]:
    """Warn if the results are on a local disk, which other nodes see only if it is exported."""
    nodes = set((slurm.call("sinfo", "--noheader", "--Node", "--format=%N") or "").split())
    kind = _file_system(Path.cwd())
    if nodes - {os.uname().nodename.split(".")[0]} and kind and kind not in SHARED:
        text = f"{Path.cwd()}: is on a file system of type {kind}; if the other nodes do not see it, run in a folder that all nodes share (--probe checks this)"
        yield Finding(False, text)


def _file_system(folder: Path) -> str:
    """Return the type of a folder's file system; "" if unknown."""
    best, kind = "", ""
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, where, found, *_ = line.split()
            where = where.encode().decode("unicode_escape")
            if folder.is_relative_to(where) and len(where) >= len(best):
                best, kind = where, found
    except (OSError, ValueError):
        return ""
    return kind


def _notes(cluster: Cluster) -> Iterator[str]:
    running = queue.jobs()
    if running:
        names = ", ".join(j.number for j in running[:10])
        yield f"{len(running)} jobs of an earlier run are still in the queue ({names}{', ...' if len(running) > 10 else ''}); the workflow takes them over"
    allowed = limits.find(cluster.account, cluster.qos, cluster.partition)
    most = min((a.submissions for a in allowed if a.submissions is not None), default=None)
    if most is not None:
        yield f"SLURM accepts {most} of your jobs at a time; Snakemake holds back the rest and tries again; to avoid this, use --jobs {most} (jobs in slurm/config.yaml)"


def _data(cells: list[Cell], data: Path) -> Iterator[Finding]:
    for name, layout in sorted({(c.recipe.dataset, c.recipe.data.layout) for c in cells}):
        if layout == "installed" or (data / name / "manifest.json").exists():
            continue
        command = f"bnonly --data {shlex.quote(str(data))} prepare {name}{'' if name in DOWNLOADED else ' --from ...'}"
        command += "" if name in DATASETS else ", with the --profile or --configfile of this run"
        problem = name not in DOWNLOADED and not os.environ.get("BNONLY_SOURCES")
        how = "is not prepared" if problem else "is not prepared; the workflow will prepare it on this machine first"
        yield Finding(problem, f"{data / name}: {how}: {command}   (docs/data.md)")


def _probe(grid: Grid, data: Path) -> list[Finding]:
    """Run a one-minute job on a compute node, and return what it cannot reach."""
    import subprocess

    requests = Requests(grid)
    with tempfile.TemporaryDirectory(dir=Path.cwd() / paths.RESULTS, prefix=".preflight.") as folder:
        snakefile = Path(folder) / "Snakefile"
        snakefile.write_text(
            f"rule probe:\n    output: 'done'\n    shell: {f'{shlex.quote(sys.executable)} -m bnonly --help > done'!r}\n"
        )
        script = (
            f"test -e {shlex.quote(folder)} || {{ echo 'does not see {folder}: run in a folder that all nodes share'; exit 1; }}; "
            f"test -x {shlex.quote(sys.executable)} || {{ echo 'does not see {sys.executable}: install on a shared disk'; exit 1; }}; "
        )
        if data.exists():
            script += f"test -d {shlex.quote(str(data))} || {{ echo 'does not see {data}: set BNONLY_DATA to a shared folder'; exit 1; }}; "
        if grid.cluster and grid.cluster.gpu != "none":
            script += '[ -n "${CUDA_VISIBLE_DEVICES:-}" ] || { echo "was given no GPU"; exit 1; }; '
        # Every job starts like this; it writes to the home folder and to /tmp.
        script += f"cd {shlex.quote(folder)} && exec {shlex.quote(sys.executable)} -m snakemake --snakefile {shlex.quote(str(snakefile))} --cores 1 probe 2>&1"
        command = [
            "srun",
            "--job-name=bnonly-preflight",
            "--quiet",
            *_asked(requests.options(), 5, 2000),
            "sh",
            "-c",
            script,
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=900, cwd="/")
        except subprocess.TimeoutExpired:
            return [Finding(False, "the probe's job did not end within 15 minutes; the partition is probably busy")]
        except OSError as problem:
            return [Finding(True, f"srun: {problem.strerror}; --probe needs srun on this machine")]
    if done.returncode:
        said = slurm.telling(done.stdout or done.stderr)
        own = said.startswith(("does not", "was given"))
        return [Finding(True, f"a compute node {said}" if own else f"a compute node cannot start a job: {said}")]
    return []
