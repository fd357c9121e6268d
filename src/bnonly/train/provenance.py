"""Provenance of a result: code, versions, machine."""

from __future__ import annotations

import platform
import resource
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import bnonly
from bnonly.grid.cell import Cell

PACKAGES = ("torch", "numpy", "pyarrow", "safetensors", "torchvision", "triton")


@cache
def code() -> dict[str, Any]:
    """Return the git commit of the source tree and whether it has uncommitted changes; None outside a checkout."""
    folder = Path(bnonly.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=normal", "--", str(folder))
    return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": None if changed is None else bool(changed)}


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries it computes with, without importing them."""
    found = {"python": platform.python_version(), "bnonly": bnonly.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return the kind and name of a device and the number of CPU threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "host_system": platform.system(),
    }


def backend(session: dict[str, Any]) -> str:
    """Return what a session computes with: kind of device and backend, which decide how numbers are rounded."""
    return session["device"] + (f" with backend {session['kernels']}" if "kernels" in session else "")


def summary(session: dict[str, Any], cell: Cell) -> str:
    """Return what a training's log begins with: device, threads, precision, engine and backend."""
    kernels = f" (backend {session['kernels']})" if "kernels" in session else ""
    threads = f"{session['threads']} CPU thread{'s' if session['threads'] > 1 else ''}"
    device = f"{session['device']} ({session['device_name']})"
    return f"device {device}, {threads}, precision {cell.precision}, engine {cell.engine}{kernels}"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return peak bytes: of the process, and on the GPU if there is one."""
    peak = {"peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peak["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    return peak
