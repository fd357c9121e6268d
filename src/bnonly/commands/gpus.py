"""The GPUs of this machine: which there are, and a free one for every training.

A place on a GPU is a lock on a file, which the kernel releases when its process ends, however it ends.  A GPU has as many places as
`gpu_jobs` of the configuration says.  On a cluster the scheduler hands out GPUs, and nothing here is used.
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

#: What the workflow tells its jobs: the devices, with commas between them, and the places on each.
DEVICES, PLACES = "BNONLY_GPUS", "BNONLY_GPU_JOBS"
#: Seconds between two looks for a free place.
PAUSE = 0.5


@dataclass(frozen=True)
class Gpu:
    """One GPU: what CUDA_VISIBLE_DEVICES calls it, and what the driver does."""

    device: str
    name: str


def private_folder() -> Path:
    """Return a folder for sockets and locks of this user that nobody else can write to.

    Raises
    ------
    OSError
        If there is something else in its place.
    """
    folder = Path(tempfile.gettempdir()) / f"bnonly-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "must be a folder that only you can write to", str(folder))
    return folder


def find() -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, or all that the driver lists; of a divided GPU (MIG) its parts."""
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
    """Return one line: the devices that were found, and what a run does with them."""
    cpu = f"{threads} of {cores} CPU cores each"
    if not gpus:
        return f"no GPU found: {cores // threads or 1} at a time on the CPU, {cpu}"
    together = min(len(gpus) * places, cores // threads or 1)
    kinds = [f"{sum(g.name == name for g in gpus)} x {name}" for name in dict.fromkeys(g.name for g in gpus)]
    each = "one on each GPU" if places == 1 else f"up to {places} on each GPU"
    return f"found {listed(kinds)}: trainings run {together} at a time, {each}, {cpu}"


@contextlib.contextmanager
def taken(count: int = 1) -> Iterator[list[str]]:
    """Hold a place on free GPUs, of which alone this process knows meanwhile.

    Waits until there are enough.  Who waits longest comes first, so that a training of several GPUs gets its turn.

    Parameters
    ----------
    count : int
        How many GPUs the training takes.

    Yields
    ------
    list of str
        The devices; empty if this machine has fewer, or a scheduler hands them out.
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
