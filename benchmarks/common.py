"""Helpers of the benchmarks: processes with a time limit, tables that are complete after every row, the name of the machine."""

from __future__ import annotations

import csv
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
#: Names of what a profiler sees that are calls, such as cudaLaunchKernel, and no kernels, such as cudnn::... and cutlass_...
CALLS = re.compile("cuda[A-Z]|cu[A-Z]")


def run(command: Sequence[Any], seconds: float, capture: bool = True) -> tuple[int, str, str]:
    """Run a program and all that it starts; return its exit status, output and errors.

    Parameters
    ----------
    command : sequence
        Python's arguments: a script of this folder and its own.
    seconds : float
        After these it is ended, with its children: one that was left would disturb what is measured next.
    capture : bool
        False shows what it prints at once.
    """
    pipe = subprocess.PIPE if capture else None
    # The package need not be installed: `python -m bnonly` finds it as these scripts do.
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        out, errors = process.communicate(timeout=max(1.0, seconds))
        return process.returncode, out or "", errors or ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        return 124, out or "", f"took more than {seconds:.0f} s"


def machine(device: str) -> str:
    """Return the processor, how busy it is, and versions."""
    import torch
    import torchvision

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), platform.machine())
    what = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; " if device == "cuda" else ""
    return (
        f"{what}{model}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start; "
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    )


def shown(value: Any) -> str:
    """Return a value as tables show it."""
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a table's lines."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(map(shown, row)) + " |" for row in rows)]


def write(path: Path, title: str, command: str, about: str, lines: Iterable[str]) -> None:
    """Write a page of results whole or not at all."""
    text = "\n".join([f"# {title}", "", f"`{command}`", "", about, "", *lines]).rstrip() + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def write_csv(path: Path, rows: Sequence[dict[str, Any]], digits: int = 4) -> None:
    """Write rows, which need not have the same columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows([{k: round(v, digits) if isinstance(v, float) else v for k, v in row.items()} for row in rows])
