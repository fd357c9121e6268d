"""Kinds of GPU: published peaks, and their names in drivers and clusters (standard library only).

Peaks are from the vendors' data sheets: dense, with fp32 accumulation.  Copy bandwidth is the rate of a large
copy, 0.9 of the published memory bandwidth; measured on the H200: 4.3 of 4.8 TB/s.  Users add a kind
under `gpus:` in config.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnonly.errors import UserError, accepted

#: Share of the published memory bandwidth that a copy reaches (measured on one H200).
COPY_SHARE = 0.9
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, or a CPU.

    Attributes
    ----------
    name : str
        Our name, as in ``--gpu``.
    memory_bytes : int
        Memory of the device; for a CPU a core's share of a typical machine's.
    copy_bytes_per_s : float
        Bytes read plus bytes written per second by a large copy.
    matrix_flops : dict
        FLOP/s by precision.  For a precision without units of its own, the rate of the fallback.
    watts : float
        Board power.
    aliases : tuple of str
        Regular expressions that match a whole name from nvidia-smi or torch, or a SLURM gres type, in lower case.
    cores : int
        Cores of a CPU; 0 for a GPU.
    """

    name: str
    memory_bytes: int
    copy_bytes_per_s: float
    matrix_flops: Mapping[str, float] = field(hash=False)
    watts: float
    aliases: tuple[str, ...] = ()
    cores: int = 0

    @property
    def is_cpu(self) -> bool:
        """Whether this is a CPU."""
        return self.cores > 0

    def lacks(self, precision: str) -> bool:
        """Whether the kind lacks units for a precision; the fast engine then rejects it."""
        return self.name in OLD and precision in ("bf16", "tf32")


def _gpu(
    name: str, gigabytes: float, bandwidth: float, tflops: Sequence[float], watts: float, aliases: Iterable[str]
) -> Gpu:
    """Make a kind from GB, published GB/s, TFLOP/s by precision, and W."""
    rates = {p: rate * 1e12 for p, rate in zip(PRECISIONS, tflops, strict=True)}
    return Gpu(name, int(gigabytes * 1e9), bandwidth * 1e9 * COPY_SHARE, rates, watts, tuple(aliases))


# V100 and T4 compute tf32 and bf16 in fp32; the RTX 3090 and 4090 have no faster tf32 than fp32.
#: Kinds without units for bf16 and tf32; the fast engine rejects these precisions there.
OLD = frozenset({"v100", "t4"})
_KINDS = (
    _gpu("a100-40", 40, 1555, (19.5, 156, 312, 312), 400, [r"nvidia a100-(sxm4|pcie|pci)-40gb( mig.*)?", "a100", "a100[-_]40(gb)?", "a100[-_](sxm4?|pcie)[-_]40(gb)?"]),
    _gpu("a100-80", 80, 2039, (19.5, 156, 312, 312), 400, [r"nvidia a100-sxm4-80gb", r"nvidia a100 80gb pcie", "a100[-_]80(gb)?", "a100[-_](sxm4?|pcie)[-_]80(gb)?"]),
    _gpu("h100-pcie", 80, 2039, (51.2, 378, 756, 756), 350, [r"nvidia h100 pcie", "h100[-_]pcie([-_]80(gb)?)?"]),
    _gpu("h100", 80, 3350, (66.9, 494, 989, 989), 700, [r"nvidia h100 80gb hbm3", "h100[-_](sxm5?|80(gb)?|hbm3)", "h100[-_]80gb[-_]hbm3", "h100-sxm"]),
    _gpu("h200", 141, 4300 / COPY_SHARE, (66.9, 494, 989, 989), 700, [r"nvidia h200", "h200[-_](sxm5?|141(gb)?)"]),
    _gpu("v100", 32, 900, (15.7, 15.7, 15.7, 125), 300, [r"(nvidia |tesla )?(tesla )?v100-.*", r"nvidia v100.*", "v100[-_](16|32)(gb)?", "v100s?"]),
    _gpu("a10", 24, 600, (31.2, 62.5, 125, 125), 150, [r"nvidia a10g?", "a10g"]),
    _gpu("l4", 24, 300, (30.3, 60, 121, 121), 72, [r"nvidia l4"]),
    _gpu("l40s", 48, 864, (91.6, 183, 362, 362), 350, [r"nvidia l40s"]),
    _gpu("rtx-3090", 24, 936, (35.6, 35.6, 71, 71), 350, [r"nvidia geforce rtx 3090( ti)?", "(geforce_|geforce-)?(rtx)?[-_]?3090"]),
    _gpu("rtx-4090", 24, 1008, (82.6, 82.6, 165.2, 165.2), 450, [r"nvidia geforce rtx 4090( d)?", "(geforce_|geforce-)?(rtx)?[-_]?4090"]),
    _gpu("t4", 16, 320, (8.1, 8.1, 8.1, 65), 70, [r"(nvidia )?(tesla )?t4"]),
)  # fmt: skip

GPUS: dict[str, Gpu] = {g.name: g for g in _KINDS}


def of_configuration(kinds: Mapping[str, Mapping[str, Any]]) -> tuple[Gpu, ...]:
    """Return the kinds under `gpus:` of a configuration, which give the published bandwidth."""
    return tuple(
        _gpu(
            name,
            k["memory_gb"],
            k["bandwidth_gb_s"],
            [k["tflops"][p] for p in PRECISIONS],
            k["watts"],
            map(_literal, k["aliases"]),
        )
        for name, k in kinds.items()
    )


def _literal(alias: str) -> str:
    return re.escape(" ".join(alias.lower().split()))


#: One core of a server CPU: AVX-512 at about 3 GHz reaches 192 GFLOP/s; the core's share of memory bandwidth and of the
#: socket's power.
CPU = Gpu("cpu", 4 * 10**9, 20e9, dict.fromkeys(PRECISIONS, 192e9), 8.0, cores=1)


def cpu(cores: int) -> Gpu:
    """Return a CPU with this number of cores."""
    return replace(
        CPU,
        name="cpu" if cores == 1 else f"cpu:{cores}",
        memory_bytes=CPU.memory_bytes * cores,
        copy_bytes_per_s=CPU.copy_bytes_per_s * cores,
        matrix_flops={p: r * cores for p, r in CPU.matrix_flops.items()},
        watts=CPU.watts * cores,
        cores=cores,
    )


def find_gpu(name: str, more: Iterable[Gpu] = ()) -> Gpu:
    """Find a kind by our name, the driver's ("NVIDIA A100-SXM4-80GB") or a cluster's ("a100_80").

    Parameters
    ----------
    name : str
        Case does not matter; "cpu" is one core, "cpu:8" eight.
    more : iterable of Gpu
        Kinds of the configuration; they come first.

    Raises
    ------
    UserError
        If no kind has this name; with the nearest names.
    """
    asked = " ".join(str(name).lower().split())
    if match := re.fullmatch(r"cpu(?::([1-9]\d{0,3}))?", asked):
        return cpu(int(match[1] or 1))
    kinds = [*more, *_KINDS]
    for kind in kinds:
        if asked in (kind.name.lower(), f"nvidia {kind.name.lower()}"):
            return kind
    for kind in kinds:
        if any(re.fullmatch(a, asked) for a in kind.aliases):
            return kind
    names = [*(k.name for k in kinds), "cpu"]
    raise UserError(f"unknown GPU '{name}'; {accepted(asked, names)} (describe other kinds under gpus: in config.yaml)")
