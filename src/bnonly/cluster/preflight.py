"""What would stop the workflow on this cluster, found before anything is submitted (standard library and yaml only)."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnonly import cost, paths
from bnonly.cluster import queue
from bnonly.cluster.requests import Requests, setting
from bnonly.errors import UserError, accepted
from bnonly.figures import outputs
from bnonly.grid.cell import Cell, Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.grid.sections import Cluster

#: File systems that other nodes see as well.
SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "cephfs", "panfs", "afs", "9p", "wekafs", "pvfs2", "orangefs",
          "glusterfs", "fuse.glusterfs", "cifs", "smb3", "ocfs2", "gfs2", "vast", "virtiofs", "fuse.sshfs", "fhgfs"}  # fmt: skip
#: Spare room wanted beside what the results need.
SPARE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: a problem stops the workflow, a note does not."""

    is_problem: bool
    text: str


def check(grid: Grid, data: Path) -> list[Finding]:
    """Look at everything that can be seen from here; nothing is submitted.

    Parameters
    ----------
    grid : Grid
        With its `cluster`.
    data : Path
        Folder of prepared data.

    Returns
    -------
    list of Finding
        Problems first; each one line.
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
        found.append(
            Finding(
                True, f"{', '.join(missing)}: no such command; run this where your cluster's jobs are submitted from"
            )
        )
    else:
        problems = [*_partition_problems(grid, cluster), *_account_problems(grid, cluster)]
        # SLURM's own word comes last: it says less well what is wrong.
        problems = problems or list(_refusals(requests, cells))
        found += (Finding(True, text) for text in problems)
        found += _not_shared()
        found += (Finding(False, text) for text in _notes(cells))
    found += _data(cells, data)
    return sorted(found, key=lambda f: not f.is_problem)


def preflight(grid: Grid, data: Path, probe: bool) -> int:
    """Print what `check` finds, and with `probe` what a job on a compute node sees; return an exit status."""
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
    print(
        "ready: snakemake --profile slurm figures/all"
        + ("" if probe else "   (--probe also looks from a compute node)")
    )
    return 0


def _wanted(grid: Grid) -> set[Key]:
    return {key for name in outputs.wanted(grid) for key in outputs.ask(grid, name).cells()}


def seconds(limit: str) -> float:
    """Return a time limit as SLURM writes it: [days-]hours:minutes:seconds, minutes:seconds, infinite."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, rest = limit.rpartition("-")
    total = 0
    for part in rest.split(":"):
        total = total * 60 + int(part)
    return int(days or 0) * 86_400 + total


def _partition_problems(grid: Grid, cluster: Cluster) -> Iterator[str]:
    text = queue.call("sinfo", "--noheader", "--format=%P|%l|%G|%a")
    if text is None:
        yield "sinfo: does not answer; is SLURM's controller up?"
        return
    rows = [line.strip().split("|") for line in text.splitlines()]
    limits = {name.rstrip("*"): seconds(limit) for name, limit, _, _ in rows}
    default = next((r[0].rstrip("*") for r in rows if r[0].endswith("*")), "")
    for key, name in (("partition", cluster.partition), ("cpu_partition", cluster.cpu_partition or cluster.partition)):
        if name and name not in limits:
            yield f"{setting(grid, key)} is '{name}', which is no partition; {accepted(name, limits)}"
            return
        if not name and not default:
            yield f"{setting(grid, key)} is empty, and this cluster has no default partition; {accepted('', limits)}"
            return
    name = cluster.partition or default
    if limits[name] < 3600 * cluster.max_hours - 1:
        yield (
            f"{setting(grid, 'max_hours')} is {cluster.max_hours:g}, but partition {name} ends jobs after "
            f"{limits[name] / 3600:.3g} hours; give that at most"
        )
    kinds = {g.split("(")[0] for row in rows if row[0].rstrip("*") == name for g in row[2].split(",")}
    types = {k.split(":")[1] for k in kinds if k.startswith("gpu:") and k.count(":") == 2}
    if cluster.gpu != "none" and not any(k.startswith("gpu") for k in kinds):
        with_gpu = sorted({r[0].rstrip("*") for r in rows if "gpu" in r[2]})
        yield (
            f"{grid.source}: partition {name} has no GPUs; name one that has in cluster.partition ({', '.join(with_gpu) or 'none has'}), "
            "or set cluster.gpu to none"
        )
    elif cluster.gpu not in ("any", "none") and cluster.gpu not in types:
        yield f"{setting(grid, 'gpu')} is '{cluster.gpu}', which partition {name} does not have; {accepted(cluster.gpu, sorted(types) or ['any'])}"


def _account_problems(grid: Grid, cluster: Cluster) -> Iterator[str]:
    text = queue.call(
        "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}", "format=account"
    )
    accounts = sorted(set((text or "").split()))
    if cluster.account and accounts and cluster.account.lower() not in map(str.lower, accounts):
        yield f"{setting(grid, 'account')} is '{cluster.account}', which is not yours; {accepted(cluster.account, accounts)}"


def _refusals(requests: Requests, cells: list[Cell]) -> Iterator[str]:
    """Yield what SLURM says against a training's request and against a drawing's."""
    gpus = max((c.recipe.gpus for c in cells), default=1)
    minutes = max((requests.minutes([c]) for c in cells), default=60)
    asked = {
        "a training": {**requests.fixed(gpus=gpus), "runtime": minutes, "mem_mb": requests.memory_mb(gpus=gpus)},
        "a figure": {**requests.fixed(computes=False), "runtime": 30, "mem_mb": 4000},
    }
    for what, job in asked.items():
        error = _tested(_options(job))
        if error:
            yield f"SLURM refuses {what} ({shlex.join(_options(job))}): {error}"


def _options(job: dict[str, object]) -> list[str]:
    """Return sbatch's options for a job, as the executor gives them."""
    names = {
        "slurm_partition": "--partition",
        "slurm_account": "--account",
        "constraint": "--constraint",
        "qos": "--qos",
        "runtime": "--time",
        "mem_mb": "--mem",
        "cpus_per_task": "--cpus-per-task",
    }
    found = [f"{option}={job[key]}" for key, option in names.items() if key in job]
    if "gpu" in job:
        found.append(f"--gpus={job['gpu_model']}:{job['gpu']}" if job.get("gpu_model") else f"--gpus={job['gpu']}")
    return found


def _tested(options: list[str]) -> str | None:
    """Return what SLURM says against a request; None if it would take it."""
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
    """Yield why results could not be written."""
    here = Path.cwd()
    needed = sum(cost.work(c).disk_bytes for c in cells if not paths.metrics(c.key.folder).exists())
    try:
        paths.RESULTS.mkdir(parents=True, exist_ok=True)
        # A quota is met in writing; what is free does not show it.
        with tempfile.NamedTemporaryFile(dir=paths.RESULTS, prefix=".preflight.") as stream:
            stream.write(os.urandom(2_000_000))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as problem:
        yield f"{here / paths.RESULTS}: cannot be written: {problem.strerror}; free some space, or run in a folder that has it (--directory)"
        return
    free = shutil.disk_usage(paths.RESULTS).free
    if free < needed + SPARE_BYTES:
        yield (
            f"{here / paths.RESULTS}: {free / 1e9:.1f} GB are free, {(needed + SPARE_BYTES) / 1e9:.1f} GB are wanted for results and "
            "checkpoints; free some space, or run in a folder that has it (--directory)"
        )


def _not_shared() -> Iterator[Finding]:
    """Say so if the results are on a disk of this node and other nodes have jobs."""
    nodes = set((queue.call("sinfo", "--noheader", "--Node", "--format=%N") or "").split())
    kind = _file_system(Path.cwd())
    if nodes - {os.uname().nodename.split(".")[0]} and kind and kind not in SHARED:
        text = f"{Path.cwd()}: is on a file system of kind {kind}, which other nodes do not see; run in a folder that all nodes share"
        yield Finding(kind in {"ext4", "ext3", "xfs", "btrfs", "tmpfs", "overlay", "zfs"}, text)


def _file_system(folder: Path) -> str:
    """Return the kind of file system that a folder is on, "" if it cannot be told."""
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


def _notes(cells: list[Cell]) -> Iterator[str]:
    running = queue.jobs()
    if running:
        names = ", ".join(j.number for j in running[:10])
        yield (
            f"{len(running)} jobs of an earlier run are still there ({names}{', ...' if len(running) > 10 else ''}); new ones for the same cells "
            "wait for them, each with its GPU: let them end first, or scancel them (they go on from their checkpoints)"
        )


def _data(cells: list[Cell], data: Path) -> Iterator[Finding]:
    for name in sorted({c.recipe.dataset for c in cells}):
        if DATASETS[name].layout == "installed" or (data / name / "manifest.json").exists():
            continue
        command = f"bnonly --data {data} prepare {name}" + ("" if name == "cifar10" else " --from ...")
        problem = name != "cifar10" and not os.environ.get("BNONLY_SOURCES")
        how = "is not prepared" if problem else "is not prepared; the workflow does it first, here"
        yield Finding(problem, f"{data / name}: {how}: {command}   (docs/data.md)")


def _probe(grid: Grid, data: Path) -> list[Finding]:
    """Run a job of a minute on a compute node, and say what it does not see."""
    import subprocess

    requests = Requests(grid)
    job = {**requests.fixed(), "runtime": 2, "mem_mb": 2000}
    with tempfile.NamedTemporaryFile(dir=paths.RESULTS, prefix=".preflight.") as mark:
        script = (
            f"test -e {shlex.quote(mark.name)} || {{ echo 'does not see {mark.name}: run in a folder that all nodes share'; exit 1; }}; "
            f"test -x {shlex.quote(sys.executable)} || {{ echo 'does not see {sys.executable}: install on a shared disk'; exit 1; }}; "
        )
        if data.exists():
            script += f"test -d {shlex.quote(str(data))} || {{ echo 'does not see {data}: set BNONLY_DATA to a shared folder'; exit 1; }}; "
        if grid.cluster and grid.cluster.gpu != "none":
            script += '[ -n "${CUDA_VISIBLE_DEVICES:-}" ] || { echo "was given no GPU"; exit 1; }; '
        command = ["srun", "--job-name=bnonly-preflight", "--quiet", *_options(job), "sh", "-c", script]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd="/")
        except (OSError, subprocess.TimeoutExpired):
            return [Finding(False, "the probe did not start within 15 minutes: the partition is busy")]
    if done.returncode:
        said = " ".join((done.stdout or done.stderr).split())
        return [Finding(True, f"a compute node {said}")]
    return []
