"""The GPUs of this machine, and whether they or its CPU compute in bf16 (without importing torch)."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Where Linux lists the features of the CPU.
CPUINFO = Path("/proc/cpuinfo")
#: Features of CPUs with bf16 instructions.  A CPU with AVX-512 but without them emulates bf16.
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
#: Features of CPUs on which PyTorch has bf16 convolutions, natively or emulated: all of one set.
ENOUGH = ({"avx512bw", "avx512vl", "avx512dq"}, {"avx_ne_convert"}, {"bf16"})
NO_BF16 = "this CPU has no bf16 (it needs AVX-512)"


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name in CUDA_VISIBLE_DEVICES and its name from the driver."""

    device: str
    name: str


def find_gpus() -> list[Gpu]:
    """Return the GPUs named by CUDA_VISIBLE_DEVICES, or all that the driver lists; a divided GPU (MIG) counts as its parts."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return []
    names: dict[str, str] = {}  # by index and by UUID
    whole: list[Gpu] = []
    parts: list[Gpu] = []
    for line in _nvidia_smi("-L"):
        if match := re.match(r"\s*(GPU|MIG) (.+?)(?: +Device +\d+)?: (?:(.+) )?\(UUID: (\S+)\)", line):
            kind, index, name, uuid = match.groups()
            (whole if kind == "GPU" else parts).append(Gpu(uuid, name or f"MIG {index}"))
            names |= {index: whole[-1].name, uuid: name or f"MIG {index}"}
    if not whole:
        return []
    if visible is None:
        return parts or whole
    return [Gpu(word.strip(), names.get(word.strip(), "a GPU")) for word in visible.split(",") if word.strip()]


def best_precision(device: str = "auto") -> str:
    """Return bf16 if the processor that trains computes in it, else fp32.

    Parameters
    ----------
    device : str
        The configuration's device: "auto", "cpu" or "cuda".
    """
    if device == "cuda" or (device == "auto" and find_gpus()):
        return "fp32" if why_no_bf16(on_gpu=True) else "bf16"
    return "bf16" if _cpu_features() & BF16 else "fp32"


def why_no_bf16(on_gpu: bool) -> str | None:
    """Return why a training in bf16 cannot run here; None if it can, or if nobody can tell."""
    if on_gpu:
        lines = _nvidia_smi("--query-gpu=compute_cap", "--format=csv,noheader")
        found = [float(line) for line in lines if re.fullmatch(r"\s*\d+\.\d+\s*", line)]
        return (
            "a GPU of this machine has no bf16 (Ampere and later GPUs have it)" if min(found, default=8) < 8 else None
        )
    features = _cpu_features()
    return NO_BF16 if features and not any(needed <= features for needed in ENOUGH) else None


def _cpu_features() -> set[str]:
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), flags=re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def _nvidia_smi(*arguments: str) -> list[str]:
    """Return the lines that the driver's tool prints; none if there is no driver, or if it fails."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
