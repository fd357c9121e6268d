"""Estimate the time of a training on a kind of GPU: a model of its kernels, corrected by measurements (standard library
only).

A kernel takes the longest of three times: to move its bytes, to compute its FLOPs, and the minimum of any kernel.
A step takes the sum of these or the time of all launches from Python, if longer.  docs/cost.md has the derivation, the
constants and the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bnonly.cost.gpus import Gpu
from bnonly.cost.model import CORES, model
from bnonly.cost.training import count_training
from bnonly.grid.cell import Cell

#: Start-up seconds on a CPU if the process has already imported torch.
WARM_SECONDS = 0.5
#: Bytes that the driver, the libraries and torch take without a network: on a GPU, and in a process on a CPU.
CONTEXT_BYTES = {False: 1_000_000_000, True: 700_000_000}


@dataclass(frozen=True)
class Correction:
    """The factor that corrects the model's seconds.

    Attributes
    ----------
    factor : float
        Geometric mean of measured over modelled.
    error : float or None
        Typical factor between a corrected estimate and the truth: root mean square of the logarithms, each (architecture,
        regime) predicted from the others; None if there is only one.
    runs : int
        Number of measured runs.
    """

    factor: float
    error: float | None
    runs: int


class Corrections(Protocol):
    """Corrections of the model from earlier runs: `bnonly.cost.measured.Measured`."""

    def correction(self, cell: Cell, gpu: Gpu) -> Correction | None:
        """Return the correction of a cell on a device; None if nothing similar was measured."""


@dataclass(frozen=True)
class Estimate:
    """The estimate for one training on one device.

    Attributes
    ----------
    seconds : float
        Whole training with start-up and evaluations, on as many GPUs as the recipe's `gpus`.
    memory_bytes : int
        Peak on the device, including driver and libraries.
    error_factor : float or None
        Typical error of such estimates against measurements: two out of three true times lie within
        ``seconds / error_factor`` to ``seconds * error_factor``.  None without measurements.
    measured : bool
        Whether throughputs measured on this kind of device corrected it.
    """

    seconds: float
    memory_bytes: int
    error_factor: float | None
    measured: bool


def estimate(
    cell: Cell, gpu: Gpu, measured: Corrections | None = None, cores: int = CORES, warm: bool = False
) -> Estimate:
    """Estimate a cell's training on one device.

    Parameters
    ----------
    cell : Cell
        Training to estimate, with its engine and precision.  The rate of a precision without units is the device's
        fallback.
    gpu : Gpu
        From `bnonly.cost.gpus`.
    measured : Corrections, optional
        Throughputs of earlier runs that correct the model (`bnonly.cost.measured`).
    cores : int
        CPU cores that decode images for this GPU.
    warm : bool
        Whether the process has already imported torch (`bnonly.commands.fork_server`).
    """
    steps, evaluation, startup = model(cell, gpu, cores)
    if warm and gpu.is_cpu:
        startup = WARM_SECONDS
    correction = measured.correction(cell, gpu) if measured else None
    factor = correction.factor if correction else 1.0
    training = count_training(cell)
    return Estimate(
        seconds=startup + factor * (steps + training.evaluations * evaluation),
        memory_bytes=training.memory_bytes + CONTEXT_BYTES[gpu.is_cpu],
        error_factor=correction.error if correction else None,
        measured=correction is not None,
    )
