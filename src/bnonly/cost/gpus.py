"""Kinds of GPU: published peaks, and the names by which drivers and clusters call them (standard library only).

Peaks are of the vendors' data sheets, dense, without sparsity, with fp32 accumulation.  Copy bandwidth is what a large
copy reaches, 0.9 of the published memory bandwidth; on the H200 it was measured: 4.3 of 4.8 TB/s.  A kind of one's own
is an entry of `gpus:` in config.yaml.
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
        Ours; what ``--gpu`` takes.
    memory_bytes : int
        On the device; for a CPU what one core has of a usual machine's.
    copy_bytes_per_s : float
        Bytes read plus bytes written in a second by a large copy.
    matrix_flops : dict
        FLOP/s by precision.  A kind without units for one has the rate at which it computes it otherwise.
    watts : float
        Board power.
    aliases : tuple of str
        Regular expressions of nvidia-smi's and torch's names and of SLURM's gres types; lower case, whole.
    cores : int
        Of a CPU; 0 for a GPU.
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
        """Whether this is a CPU, by the core."""
        return self.cores > 0

    def lacks(self, precision: str) -> bool:
        """Say whether the kind has no units for a precision, so that the fast engine refuses it there."""
        return self.name in OLD and precision in ("bf16", "tf32")


def _gpu(
    name: str, gigabytes: float, bandwidth: float, tflops: Sequence[float], watts: float, aliases: Iterable[str]
) -> Gpu:
    """GB, published GB/s, TFLOP/s by precision, W."""
    rates = {p: rate * 1e12 for p, rate in zip(PRECISIONS, tflops, strict=True)}
    return Gpu(name, int(gigabytes * 1e9), bandwidth * 1e9 * COPY_SHARE, rates, watts, tuple(aliases))


# V100 and T4 compute tf32 and bf16 in fp32; the RTX 3090 and 4090 have no faster tf32 than fp32.
#: Kinds without bf16 and tf32 of their own, which the fast engine refuses there.
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
    """Return the kinds under `gpus:` of a configuration; their bandwidth is the published one."""
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


#: One core of a server CPU: AVX-512 at some 3 GHz makes 192 GFLOP/s; a core's share of the memory's bandwidth, and of a
#: socket's power.
CPU = Gpu("cpu", 4 * 10**9, 20e9, dict.fromkeys(PRECISIONS, 192e9), 8.0, cores=1)


def cpu(cores: int) -> Gpu:
    """Return a CPU of some cores."""
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
    """Find a kind by our name, the driver's ("NVIDIA A100-SXM4-80GB"), or a cluster's ("a100_80").

    Parameters
    ----------
    name : str
        Upper and lower case are the same; "cpu" is one core, "cpu:8" eight.
    more : iterable of Gpu
        Kinds of the configuration; they come first.

    Raises
    ------
    UserError
        If no kind is called so, with the nearest names.
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
    raise UserError(
        f"GPU {name}: no such kind; {accepted(asked, names)} (a kind of your own goes under gpus: in config.yaml)"
    )
