"""The interface of an engine, and the engine of a cell.

The engines are `bnonly.engines.reference` (plain PyTorch), `bnonly.engines.fast.engine` (fused, any precision), and the latter
with the kernels of `bnonly.engines.triton`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from bnonly import machine
from bnonly.data import Batches
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible
from bnonly.engines.evaluate import Scores
from bnonly.engines.fast.choice import choose_backend
from bnonly.engines.fast.fused import Statistics
from bnonly.engines.fast.network import DTYPES, Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.reference import ReferenceEngine
from bnonly.engines.team import ALONE, Team
from bnonly.errors import UserError
from bnonly.grid import compatibility
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule


class Engine(Protocol):
    """The interface of an engine to the training loop.

    Attributes
    ----------
    model : torch.nn.Module
        The network, with its current parameters and running statistics.
    schedule : Schedule
        Iterations and learning rates.
    """

    model: nn.Module
    schedule: Schedule

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """Train batches `first` to `last` (exclusive) of an epoch; return the number of the next one.

        `pause` is called after every batch; the engine returns early if it is true.
        """

    def evaluate(self) -> Scores:
        """Score the test set."""

    def totals(self) -> tuple[float, int, int]:
        """Return the sums of the current epoch: loss over images, correct images, images."""

    def set_totals(self, loss: float, correct: int, images: int) -> None:
        """Set these sums: to zero for a new epoch, to a checkpoint's for a resumed one."""

    def state(self) -> dict[str, Any]:
        """Return the full training state, as tensors on the CPU."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""

    def facts(self) -> dict[str, Any]:
        """Return the engine's entries in a run's record; "kernels" is the backend."""


def make_engine(cell: Cell, source: Batches, device: torch.device, team: Team = ALONE) -> Engine:
    """Return the engine of a cell.

    Parameters
    ----------
    cell : Cell
        What to train.
    source : Batches
        Its data.
    device : torch.device
        Where to compute.
    team : Team
        The processes that share every batch.

    Raises
    ------
    UserError
        If the batches do not fit the data set or the memory, or the device lacks the precision.
    """
    if wrong := compatibility.batches(cell.recipe, source.train_images):
        raise UserError(f"{cell}: {wrong}")
    memory.check(cell, device)
    if cell.engine == "reference":
        return ReferenceEngine(cell, source, device)
    from bnonly.engines.fast.engine import FastEngine

    _check_precision(cell, device)
    if cell.engine == "triton":
        from bnonly.engines import triton

        reason = triton.why_not(device)
        if reason is not None:
            raise UserError(f"{cell}: engine: triton cannot run here ({reason}); set engine: fast")
        if cell.recipe.batchnorm == "synchronised" or cell.recipe.batchnorm_images:
            asked = "batchnorm_images" if cell.recipe.batchnorm_images else "batchnorm: synchronised"
            raise UserError(f"{cell}: engine: triton has no {asked}; leave it out, or set engine: fast")
    return FastEngine(cell, source, device, team)


def _check_precision(cell: Cell, device: torch.device) -> None:
    remedy = "set precision: fp32"
    if device.type == "cuda":
        if cell.precision != "fp32" and torch.cuda.get_device_capability(device) < (8, 0):
            name = torch.cuda.get_device_name(device)
            raise UserError(f"{cell}: {name} has no {cell.precision} (Ampere and later GPUs have it); {remedy}")
    elif cell.precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise UserError(f"{cell}: {machine.NO_BF16}; {remedy}")


def tester(model: torch.nn.Module, cell: Cell) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that computes logits in evaluation mode with a cell's engine."""
    if cell.engine == "reference":
        return model
    be_reproducible(cell.precision)
    dtype = DTYPES[cell.precision]
    device = next(model.parameters()).device
    # The Triton kernels are for training only.
    backend = choose_backend(dataclasses.replace(cell, engine="fast"), device)
    return Network(model, Parameters(model, dtype).of, dtype, Statistics(backend)).test
