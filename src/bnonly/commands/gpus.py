"""The devices of this machine, and the locks by which trainings share its GPUs.

A place on a GPU is a file lock, which the kernel releases when its process ends for any reason.  Each GPU has `gpu_jobs`
places (a key of the configuration).  On a cluster the scheduler assigns GPUs, and this module is not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bnonly import machine
from bnonly.console import listed

if TYPE_CHECKING:
    from bnonly.grid.resolve import Grid

#: Variables that the workflow sets for its jobs: the configuration's device; the GPUs, separated by commas, and the places on each.
DEVICE = "BNONLY_DEVICE"
DEVICES, PLACES = "BNONLY_GPUS", "BNONLY_GPU_JOBS"
#: Seconds between two attempts to find a free place.
PAUSE = 0.5


def private_folder() -> Path:
    """Return this user's folder for sockets and locks, which nobody else can write to.

    Raises
    ------
    OSError
        If the path exists but is not such a folder.
    """
    folder = Path(tempfile.gettempdir()) / f"bnonly-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "must be a folder that only you can write to", str(folder))
    return folder


@dataclass(frozen=True)
class Devices:
    """What trains on this machine, and how trainings share it.

    Attributes
    ----------
    gpus : tuple of Gpu
        The GPUs that trainings take; none if the CPU trains.
    places : int
        Trainings that share a GPU.
    cores : int
        CPU cores of all jobs together.
    threads : int
        CPU threads of a training on one GPU, or on the CPU.
    device : str
        The configuration's device: auto, cpu or cuda.
    """

    gpus: tuple[machine.Gpu, ...]
    places: int
    cores: int
    threads: int
    device: str = "auto"

    @classmethod
    def of(cls, grid: Grid, cores: int) -> Devices:
        """Return the devices of this machine as a configuration uses them; concurrent trainings share the cores."""
        found = machine.find_gpus() if grid.device != "cpu" else []
        threads = max(1, cores // (len(found) * grid.gpu_jobs)) if found else grid.threads
        return cls(tuple(found), grid.gpu_jobs, cores, threads, grid.device)

    @property
    def at_a_time(self) -> int:
        """The number of concurrent trainings."""
        return max(1, min(self.cores // self.threads, len(self.gpus) * self.places or self.cores))

    def threads_of(self, gpus: int) -> int:
        """Return the CPU threads of a training on several GPUs, for all of them together."""
        return min(self.threads * (gpus if self.gpus else 1), max(self.threads, self.cores))

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that tell the jobs."""
        found = {} if self.device == "auto" else {DEVICE: self.device}
        if self.gpus:
            found |= {DEVICES: ",".join(g.device for g in self.gpus), PLACES: str(self.places)}
        return found

    @cached_property
    def why_no_bf16(self) -> str | None:
        """Why a training in bf16 cannot run here; None if it can."""
        return machine.why_no_bf16(on_gpu=bool(self.gpus))

    def __str__(self) -> str:
        cpu = f"{self.threads} of {self.cores} CPU cores each"
        if not self.gpus:
            why = "device: cpu" if self.device == "cpu" else "no GPU found"
            return f"{why}: {self.at_a_time} at a time on the CPU, {cpu}"
        names = [g.name for g in self.gpus]
        kinds = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
        each = "one on each GPU" if self.places == 1 else f"up to {self.places} on each GPU"
        return f"found {listed(kinds)}: trainings run {self.at_a_time} at a time, {each}, {cpu}"


@contextlib.contextmanager
def taken(count: int = 1) -> Iterator[list[str]]:
    """Hold a place on free GPUs and make only these visible to this process.

    Waits until enough GPUs are free.  The longest-waiting process comes first, so a training on several GPUs gets its turn.

    Parameters
    ----------
    count : int
        Number of GPUs of the training.

    Yields
    ------
    list of str
        The devices; empty if this machine has fewer, or if a scheduler assigns them.
    """
    if told := os.environ.get(DEVICES, ""):
        devices = told.split(",")
    else:
        devices = [] if "SLURM_JOB_ID" in os.environ else [g.device for g in machine.find_gpus()]
    if len(devices) < count:
        yield []
        return
    places = int(os.environ.get(PLACES, "1"))
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with contextlib.ExitStack() as held:
        mine = _wait(devices, places, count, held)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        try:
            yield mine
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _wait(devices: Sequence[str], places: int, count: int, held: contextlib.ExitStack) -> list[str]:
    folder = private_folder()
    mine: list[str] = []
    said = False
    with open(folder / "gpu-queue", "w") as queue:
        while not _lock(queue.fileno()):
            said = said or _say_waiting()
            time.sleep(PAUSE)
        while True:
            for place in range(places):
                for device in devices:
                    if device not in mine and len(mine) < count:
                        file = open(folder / f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', device)}-{place}", "w")  # noqa: SIM115
                        if _lock(file.fileno()):
                            held.enter_context(file)
                            mine.append(device)
                        else:
                            file.close()
            if len(mine) == count:
                return mine
            said = said or _say_waiting()
            time.sleep(PAUSE)


def _say_waiting() -> bool:
    print("bnonly: waiting for a free GPU", file=sys.stderr, flush=True)
    return True


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
