"""Provenance of a result: code, versions, machine."""

from __future__ import annotations

import hashlib
import os
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
    """Return the git commit of the source tree and whether it has uncommitted changes.

    There may be no commit: no checkout, another project's repository around the source, or a repository of another user.
    The commit is then None, ``git_unknown`` has the reason, and ``source_sha256`` is a digest of the source.
    """
    folder = Path(bnonly.__file__).parent
    # GIT_DIR and similar variables may name a repository other than this tree's.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, env=kept)
        if done.returncode:
            raise OSError((done.stderr.strip().splitlines() or ["git failed"])[0])
        return done.stdout.strip()

    try:
        if not git("ls-files", "--", "__init__.py"):
            raise OSError("the source is not part of the git repository around it")
        changed = git("status", "--porcelain", "--untracked-files=normal", "--", ".")
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError) as problem:
        unknown = str(problem)[:300]
    source = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        source.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return {"git_commit": None, "git_dirty": None, "git_unknown": unknown, "source_sha256": source.hexdigest()}


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
    """Return a session's device type and backend; both affect rounding."""
    return session["device"] + (f" with backend {session['kernels']}" if "kernels" in session else "")


def summary(session: dict[str, Any], cell: Cell) -> str:
    """Return the first line of a training's log: device, threads, precision, engine and backend."""
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
