"""How long a training takes on a kind of GPU: a model of its kernels, corrected by what was measured (standard library
only).

Every kernel takes the longest of the time to move its bytes, to compute its FLOPs, and the shortest time of any kernel;
a step takes the longer of that and of launching it all from Python.  docs/cost.md has the derivation, the constants and
how far off it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bnonly.cost.gpus import Gpu
from bnonly.cost.model import CORES, model
from bnonly.cost.training import count_training
from bnonly.grid.cell import Cell

#: Start-up on a CPU in a process that has imported torch.
WARM_SECONDS = 0.5
#: Memory that the driver, the libraries and torch take before a network: on a GPU, and of a process on a CPU.
CONTEXT_BYTES = {False: 1_000_000_000, True: 700_000_000}


@dataclass(frozen=True)
class Correction:
    """What the model's seconds are multiplied by.

    Attributes
    ----------
    factor : float
        Geometric mean of measured over modelled.
    error : float or None
        Typical factor by which an estimate so corrected is off: root mean square of the logarithms, each (architecture,
        regime) predicted from the others; None if there is only one.
    runs : int
        Runs behind it.
    """

    factor: float
    error: float | None
    runs: int


class Corrections(Protocol):
    """What earlier runs tell about the model: `bnonly.cost.measured.Measured`."""

    def correction(self, cell: Cell, gpu: Gpu) -> Correction | None:
        """Return the correction of a cell on a device; None if nothing like it was measured."""


@dataclass(frozen=True)
class Estimate:
    """One training on one device.

    Attributes
    ----------
    seconds : float
        All of it, start-up and evaluations included; with a recipe of several `gpus`, on that many of them.
    memory_bytes : int
        Peak on the device, with what driver and libraries take.
    startup_seconds : float
        Of `seconds`, before the first step.
    error_factor : float or None
        How far off estimates of this kind were where they could be compared with measurements: a true time is within
        ``seconds / error_factor`` to ``seconds * error_factor`` two times in three.  None: nothing was measured.
    evaluation_seconds : float
        Of one pass over the test set.
    bound : str
        What limits a step: "FLOPs", "bytes", "launches" or "images" (their decoding).
    measured : bool
        Whether measured throughputs of this kind of device corrected it.
    """

    seconds: float
    memory_bytes: int
    startup_seconds: float
    error_factor: float | None
    evaluation_seconds: float
    bound: str
    measured: bool


def estimate(
    cell: Cell, gpu: Gpu, measured: Corrections | None = None, cores: int = CORES, warm: bool = False
) -> Estimate:
    """Estimate a cell's training on one device.

    Parameters
    ----------
    cell : Cell
        Its engine and precision say how; a precision that the device has no units for is computed as the device does
        it.
    gpu : Gpu
        From `bnonly.cost.gpus`.
    measured : Corrections, optional
        Throughputs of earlier runs, which correct the model (`bnonly.cost.measured`).
    cores : int
        CPU cores that decode images for this GPU.
    warm : bool
        Whether the process has imported torch before (`bnonly.commands.fork_server`).
    """
    steps, bound, evaluation, startup = model(cell, gpu, cores)
    if warm and gpu.is_cpu:
        startup = WARM_SECONDS
    correction = measured.correction(cell, gpu) if measured else None
    factor = correction.factor if correction else 1.0
    training = count_training(cell)
    return Estimate(
        seconds=startup + factor * (steps + training.evaluations * evaluation),
        memory_bytes=training.memory_bytes + CONTEXT_BYTES[gpu.is_cpu],
        startup_seconds=startup,
        error_factor=correction.error if correction else None,
        evaluation_seconds=factor * evaluation,
        bound=bound,
        measured=correction is not None,
    )
