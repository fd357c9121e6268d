"""The resources of a submission, from the cost of its cells (standard library and yaml only)."""

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

#: Requested time over estimated time: before a run of this kind has been measured, and the minimum afterwards.
MARGIN, LEAST_MARGIN = 2.0, 1.3
#: Growth of a request from one attempt to the next, and the largest total factor.
GROWTH, MOST = 1.5, 4.0
#: Minutes to start a job on a busy file system; minutes of an analysis, by whether its images are large.
START_MINUTES = 5
ANALYSIS_MINUTES = {False: 5, True: 60}
#: Replicates that share a submission, at most: a file's name has 255 bytes, and a batch's name lists its seeds.
MOST_REPLICATES = 16
#: Kind of GPU for estimates if the cluster may choose any.
ANY = "v100"


def setting(grid: Grid, key: str) -> str:
    """Return the file and name of a cluster setting, for messages."""
    return f"{grid.source.of(('cluster', key))}: cluster.{key}"


def kind(cluster: Cluster, grid: Grid) -> cost.Gpu:
    """Return the cost model's device for the cluster's trainings.

    Raises
    ------
    UserError
        If the table of GPUs lacks it.
    """
    name = cluster.gpu_kind or {"any": ANY, "none": f"cpu:{cluster.cpus}"}.get(cluster.gpu, cluster.gpu)
    key = "gpu_kind" if cluster.gpu_kind else "gpu"
    try:
        found = cost.find_gpu(name, kinds.of_configuration(grid.gpus))
    except UserError as problem:
        raise UserError(
            f"{setting(grid, key)} is '{name}', whose speed is unknown ({problem}); "
            "if this is SLURM's own name for the GPU, set cluster.gpu_kind to its model"
        ) from None
    lacking = sorted({c.precision for c in grid.cells.values()} - {"fp32"})
    if found.name in kinds.OLD and lacking and cluster.gpu != "any":
        raise UserError(
            f"{setting(grid, key)} is '{name}', which has no {'/'.join(lacking)}; "
            "set precision: fp32, or use an Ampere or later GPU"
        )
    return found


class Requests:
    """Time, memory and other resources of submissions.

    Parameters
    ----------
    grid : Grid
        The grid, with its `cluster`.
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
        """Return the estimated seconds of a cell, with a safety margin."""
        found = cost.estimate(cell, self._kind, self._measured, self._cluster.cpus)
        margin = MARGIN if found.error_factor is None else max(LEAST_MARGIN, found.error_factor**2)
        return found.seconds * margin

    def minutes(self, cells: Sequence[Cell], attempt: int = 1, analyses: int = 0) -> int:
        """Return the time limit, in minutes, of cells trained in sequence and of `analyses` analyses.

        It grows with every attempt, up to the partition's limit.
        """
        training = sum(self.seconds(c) for c in cells if not cache.holds(c.digest()))
        analysis = analyses * ANALYSIS_MINUTES[cells[0].architecture.family == "imagenet-resnet"]
        asked = (math.ceil(training / 60) + analysis + START_MINUTES) * _growth(attempt)
        return max(1, min(math.ceil(asked), round(self._cluster.max_hours * 60)))

    def memory_mb(self, attempt: int = 1, gpus: int = 1) -> int:
        """Return the host memory; it grows with every attempt, because the last may have run out of it."""
        return math.ceil(1000 * self._cluster.memory_gb * gpus * _growth(attempt))

    def options(self, computes: bool = True, gpus: int = 1) -> str:
        """Return the `sbatch` options that do not depend on the attempt: partition, account, GPUs and their cores.

        Parameters
        ----------
        computes : bool
            Whether the job trains or analyses; else it draws figures.
        gpus : int
            GPUs of one training.
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
            # Sent to the job's steps: the training writes a checkpoint and ends, and the next attempt continues.
            found["signal"] = f"USR1@{cluster.warning_seconds}"
        return shlex.join(f"--{key}={value}" for key, value in found.items() if value != "")

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        """Divide replicates of a cell into submissions of at most `batch_minutes`, of 1 to `MOST_REPLICATES` cells."""
        if not cells:
            return []
        room = int(60 * self._cluster.batch_minutes // max(map(self.seconds, cells)))
        parts = math.ceil(len(cells) / min(max(1, room), MOST_REPLICATES))
        return [list(cells[k::parts]) for k in range(parts)]


def _growth(attempt: int) -> float:
    return min(MOST, GROWTH ** (max(1, attempt) - 1))
