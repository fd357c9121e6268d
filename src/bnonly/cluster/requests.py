"""What a submission asks SLURM for, from the cost of its cells (standard library and yaml only)."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from functools import lru_cache

from bnonly import cost
from bnonly.cost import gpus as kinds
from bnonly.cost import measured
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.grid.resolve import Grid
from bnonly.grid.sections import Cluster
from bnonly.results import cache

#: What is asked for, over what is estimated: until a run of this kind has been measured, and at least afterwards.
MARGIN, LEAST_MARGIN = 2.0, 1.3
#: Every further attempt asks for so much more than the one before, up to this many times as much.
GROWTH, MOST = 1.5, 4.0
#: Minutes a job may take to start, from a file system that is busy; an analysis, by whether it is of large images.
START_MINUTES = 5
ANALYSIS_MINUTES = {False: 5, True: 60}
#: Estimated for where the kind of GPU is left to the cluster.
ANY = "v100"


def setting(grid: Grid, key: str) -> str:
    """Return file and name of a cluster's setting, for a message."""
    return f"{grid.source.of(('cluster', key))}: cluster.{key}"


def kind(cluster: Cluster, grid: Grid) -> cost.Gpu:
    """Return the device that the cluster's trainings get, as the cost model knows it.

    Raises
    ------
    UserError
        If the table of GPUs does not have it.
    """
    name = cluster.gpu_kind or {"any": ANY, "none": f"cpu:{cluster.cpus}"}.get(cluster.gpu, cluster.gpu)
    key = "gpu_kind" if cluster.gpu_kind else "gpu"
    try:
        found = cost.find_gpu(name, kinds.of_configuration(grid.gpus))
    except UserError as problem:
        raise UserError(
            f"{setting(grid, key)} is '{name}', whose speed is not known ({problem}); "
            "if SLURM calls it so, name its kind in cluster.gpu_kind"
        ) from None
    lacking = sorted({c.precision for c in grid.cells.values()} - {"fp32"})
    if found.name in kinds.OLD and lacking and cluster.gpu != "any":
        raise UserError(
            f"{setting(grid, key)} is '{name}', which has no {'/'.join(lacking)}; "
            "set precision: fp32, or take Ampere or later"
        )
    return found


class Requests:
    """Time, memory and the like of submissions.

    Parameters
    ----------
    grid : Grid
        With its `cluster`.
    """

    def __init__(self, grid: Grid) -> None:
        if grid.cluster is None:
            raise UserError(
                f"{grid.source}: no 'cluster' is configured; use --profile slurm, or add its file: --configfile slurm/cluster.yaml ..."
            )
        self._cluster, self._grid = grid.cluster, grid
        self._kind = kind(grid.cluster, grid)
        self._measured = measured.load(kinds.of_configuration(grid.gpus))
        self.seconds = lru_cache(maxsize=None)(self._seconds)

    def _seconds(self, cell: Cell) -> float:
        """Return the time that a cell is expected to take, with a margin for what is not known of it."""
        found = cost.estimate(cell, self._kind, self._measured, self._cluster.cpus)
        margin = MARGIN if found.error_factor is None else max(LEAST_MARGIN, found.error_factor**2)
        return found.seconds * margin

    def minutes(self, cells: Sequence[Cell], attempt: int = 1, analyses: int = 0) -> int:
        """Return the time limit of cells trained one after another, and of the analyses of some.

        It is longer at every attempt, and never above the partition's.
        """
        training = sum(self.seconds(c) for c in cells if not cache.holds(c.digest()))
        analysis = analyses * ANALYSIS_MINUTES[cells[0].architecture.family == "imagenet-resnet"]
        asked = (math.ceil(training / 60) + analysis + START_MINUTES) * _growth(attempt)
        return max(1, min(math.ceil(asked), round(self._cluster.max_hours * 60)))

    def memory_mb(self, attempt: int = 1, gpus: int = 1) -> int:
        """Return the host's memory; more at every attempt, because the last may have failed for want of it."""
        return math.ceil(1000 * self._cluster.memory_gb * gpus * _growth(attempt))

    def options(self, computes: bool = True, gpus: int = 1) -> str:
        """Return what does not depend on the attempt, as `sbatch` reads it: partition, account, GPUs and the cores that feed them.

        Parameters
        ----------
        computes : bool
            Whether it trains or analyses; else it draws.
        gpus : int
            How many GPUs one training takes.
        """
        cluster = self._cluster
        found = {
            "partition": cluster.partition if computes else cluster.cpu_partition or cluster.partition,
            "account": cluster.account,
            "nodes": 1,
        }
        if computes:
            found |= {"constraint": cluster.constraint, "qos": cluster.qos, "cpus-per-task": cluster.cpus * gpus}
            if cluster.gpu != "none":
                found["gres"] = f"gpu:{gpus}" if cluster.gpu == "any" else f"gpu:{cluster.gpu}:{gpus}"
            # To the job's steps: the training writes a checkpoint and ends, and the next attempt goes on.
            found["signal"] = f"USR1@{cluster.warning_seconds}"
        return shlex.join(f"--{key}={value}" for key, value in found.items() if value != "")

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        """Divide replicates of a cell into submissions: as many in one as `batch_minutes` has room for, at least one."""
        if not cells:
            return []
        room = int(60 * self._cluster.batch_minutes // max(map(self.seconds, cells)))
        parts = math.ceil(len(cells) / max(1, room))
        return [list(cells[k::parts]) for k in range(parts)]


def _growth(attempt: int) -> float:
    return min(MOST, GROWTH ** (max(1, attempt) - 1))
