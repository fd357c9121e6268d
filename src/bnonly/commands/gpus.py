"""The GPUs of this machine, and the locks by which trainings share them.

A place on a GPU is a file lock, which the kernel releases when its process ends for any reason.  Each GPU has `gpu_jobs`
places (a key of the configuration).  On a cluster the scheduler assigns GPUs, and this module is not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnonly.console import listed

#: Variables that the workflow sets for its jobs: the devices, separated by commas, and the places on each.
DEVICES, PLACES = "BNONLY_GPUS", "BNONLY_GPU_JOBS"
#: Seconds between two attempts to find a free place.
PAUSE = 0.5


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name in CUDA_VISIBLE_DEVICES and its name from the driver."""

    device: str
    name: str


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


def find() -> list[Gpu]:
    """Return the GPUs named by CUDA_VISIBLE_DEVICES, or all that the driver lists; a divided GPU (MIG) counts as its parts."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    names: dict[str, str] = {}  # by index and by UUID
    whole: list[Gpu] = []
    parts: list[Gpu] = []
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        if match := re.match(r"\s*(GPU|MIG) (.+?)(?: +Device +\d+)?: (?:(.+) )?\(UUID: (\S+)\)", line):
            kind, index, name, uuid = match.groups()
            (whole if kind == "GPU" else parts).append(Gpu(uuid, name or f"MIG {index}"))
            names |= {index: whole[-1].name, uuid: name or f"MIG {index}"}
    if visible is None:
        return parts or whole
    return [Gpu(word.strip(), names.get(word.strip(), "a GPU")) for word in visible.split(",") if word.strip()]


def describe(gpus: Sequence[Gpu], places: int, cores: int, threads: int) -> str:
    """Return one line about the devices found and how a run uses them."""
    cpu = f"{threads} of {cores} CPU cores each"
    if not gpus:
        return f"no GPU found: {cores // threads or 1} at a time on the CPU, {cpu}"
    together = min(len(gpus) * places, cores // threads or 1)
    kinds = [f"{sum(g.name == name for g in gpus)} x {name}" for name in dict.fromkeys(g.name for g in gpus)]
    each = "one on each GPU" if places == 1 else f"up to {places} on each GPU"
    return f"found {listed(kinds)}: trainings run {together} at a time, {each}, {cpu}"


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
        devices = [] if "SLURM_JOB_ID" in os.environ else [g.device for g in find()]
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
        while True:
            if _lock(queue.fileno()):
                break
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
