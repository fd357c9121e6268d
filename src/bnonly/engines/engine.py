"""The reference engine: plain fp32 PyTorch, deterministic, on any device; the oracle of every faster one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from bnonly.data import Batches
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible
from bnonly.engines.evaluate import Scores, evaluate
from bnonly.engines.fast.choice import kernels
from bnonly.engines.fast.network import DTYPES, Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.team import Team
from bnonly.errors import UserError
from bnonly.grid import compatibility
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes


class Engine(Protocol):
    """What a run needs of an engine; where its arithmetic happens is its own affair."""

    model: nn.Module

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """Train batches `first` to `last` (exclusive) of an epoch; return the number of the next one.

        `pause` is asked after batches; once it says yes the engine returns early.
        """

    def totals(self) -> tuple[float, int, int]:
        """Return the sums of the epoch under way: loss over images, correct images, images."""

    def set_totals(self, loss: float, correct: int, images: int) -> None:
        """Set those sums: to zero for a new epoch, to a checkpoint's for one that goes on, added up in the same order."""

    def evaluate(self) -> Scores:
        """Score the test set."""

    def state(self) -> dict[str, Any]:
        """Return everything that training changes, as tensors on the CPU."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""

    def facts(self) -> dict[str, Any]:
        """Return what the record of a run should say of how it was computed."""


class Sgd:
    """SGD with momentum and weight decay, as `torch.optim.SGD` and bit for bit the same (a test holds it to that).

    torch's own imports its compiler at the first use, three seconds that a small cell does not have.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        What trains.
    momentum, weight_decay : float
        No Nesterov, no dampening; a momentum of zeros is torch's first step.
    """

    def __init__(self, parameters: list[nn.Parameter], momentum: float, weight_decay: float) -> None:
        self._parameters: list[torch.Tensor] = list(parameters)
        self._factor, self._decay = momentum, weight_decay
        self.momentum = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step along the gradients and forget them."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._decay:
            gradients = list(torch._foreach_add(gradients, self._parameters, alpha=self._decay))
        torch._foreach_mul_(self.momentum, self._factor)
        torch._foreach_add_(self.momentum, gradients)
        torch._foreach_add_(self._parameters, self.momentum, alpha=-lr)
        for parameter in self._parameters:
            parameter.grad = None


class ReferenceEngine:
    """SGD with momentum, no Nesterov; weight decay on every trainable parameter and on no frozen one.

    Parameters
    ----------
    cell : Cell
        What to train.
    source : Batches
        Batches.
    device : torch.device
        Where.
    """

    def __init__(self, cell: Cell, source: Batches, device: torch.device) -> None:
        self._cell, self._source, self._device = cell, source, device
        self._schedule = Schedule(cell.recipe, source.train_images)
        self.model = regimes.make(cell, source.classes).to(device)
        self._trainable = regimes.trainable(self.model)
        self._optimiser = Sgd(list(self._trainable.values()), cell.recipe.momentum, cell.recipe.weight_decay)
        self.set_totals(0.0, 0, 0)

    def set_totals(self, loss: float, correct: int, images: int) -> None:
        """See `Engine.set_totals`."""
        self._loss = torch.tensor(loss, dtype=torch.float64, device=self._device)
        self._correct = torch.tensor(correct, dtype=torch.int64, device=self._device)
        self._images = images

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """See `Engine.train`."""
        self.model.train()
        batches = self._source.train_batches(self._cell.seed, epoch, self._cell.recipe.batch_size, first)
        number = first
        for number, (x, y) in zip(range(first, last), batches, strict=False):
            logits = self.model(x)
            loss = functional.cross_entropy(logits, y)
            loss.backward()
            self._optimiser.step(self._schedule.lr(epoch * self._schedule.per_epoch + number))
            self._loss += loss.detach().double() * len(y)
            self._correct += (logits.detach().argmax(1) == y).sum()
            self._images += len(y)
            if pause():
                break
        return number + 1

    def totals(self) -> tuple[float, int, int]:
        """See `Engine.totals`."""
        return self._loss.item(), int(self._correct.item()), self._images

    def evaluate(self) -> Scores:
        """See `Engine.evaluate`."""
        return evaluate(self.model, self._source.test_batches(self._cell.recipe.batch_size), self._device)

    def state(self) -> dict[str, Any]:
        """See `Engine.state`."""
        return {
            "trainable": {n: p.detach().cpu() for n, p in self._trainable.items()},
            "buffers": {n: b.cpu() for n, b in regimes.buffers(self.model).items()},
            "momentum": {n: m.cpu() for n, m in zip(self._trainable, self._optimiser.momentum, strict=True)},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Engine.load_state`."""
        with torch.no_grad():
            for (name, parameter), momentum in zip(self._trainable.items(), self._optimiser.momentum, strict=True):
                parameter.copy_(state["trainable"][name])
                momentum.copy_(state["momentum"][name])
            for name, buffer in regimes.buffers(self.model).items():
                buffer.copy_(state["buffers"][name])

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return {}


def make_engine(cell: Cell, source: Batches, device: torch.device, team: Team | None = None) -> Engine:
    """Return the engine that the cell's configuration names.

    Parameters
    ----------
    cell : Cell
        What to train.
    source : Batches
        Batches.
    device : torch.device
        Where.
    team : Team, optional
        The processes that share every batch; this one alone unless given.

    Raises
    ------
    UserError
        If the batches do not fit the data set, or the device lacks the precision.
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
            raise UserError(f"{cell}: engine is triton, whose kernels cannot run here ({reason}); set engine: fast")
        if cell.recipe.batchnorm == "synchronised":
            raise UserError(
                f"{cell}: engine is triton, whose BatchNorm is of one GPU; set batchnorm: local or engine: fast"
            )
    return FastEngine(cell, source, device, team or Team())


def _check_precision(cell: Cell, device: torch.device) -> None:
    remedy = "set precision: fp32"
    if device.type == "cuda":
        if cell.precision != "fp32" and torch.cuda.get_device_capability(device) < (8, 0):
            name = torch.cuda.get_device_name(device)
            raise UserError(
                f"{cell}: precision is {cell.precision}, which {name} lacks (Ampere or later has it); {remedy}"
            )
    elif cell.precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise UserError(f"{cell}: precision is bf16, which this CPU lacks (it takes AVX-512); {remedy}")


def tester(model: torch.nn.Module, cell: Cell) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what the cell's own engine tests with."""
    if cell.engine == "reference":
        return model
    be_reproducible(cell.precision)
    dtype = DTYPES[cell.precision]
    device = next(model.parameters()).device
    # Testing has no kernels of Triton's.
    how = kernels(dataclasses.replace(cell, engine="fast"), device)
    return Network(model, Parameters(model, dtype).of, dtype, kernels=how).test
