"""The reference engine: plain fp32 PyTorch, deterministic, on any device.  Tests compare faster engines with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bnonly.data import Batches
from bnonly.data.batches import part_of
from bnonly.engines.evaluate import Scores, evaluate
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes


class ReferenceEngine:
    """SGD with momentum, without Nesterov; weight decay on every trainable parameter and on no frozen one (Appendix B).

    Parameters
    ----------
    cell : Cell
        What to train.
    source : Batches
        Its data.
    device : torch.device
        Where to compute.
    """

    def __init__(self, cell: Cell, source: Batches, device: torch.device) -> None:
        self._cell, self._source, self._device = cell, source, device
        self.schedule = Schedule(cell.recipe, source.train_images)
        self.model = regimes.make(cell, source.classes).to(device)
        if cell.recipe.batchnorm_images:
            for _, norm in regimes.find_batchnorms(self.model):
                GroupedBatchNorm.take_over(norm, cell.recipe.batchnorm_groups)
        self._trainable = regimes.trainable(self.model)
        self._optimiser = Sgd(list(self._trainable.values()), cell.recipe.momentum, cell.recipe.weight_decay)
        self.set_totals(0.0, 0, 0)

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """See `Engine.train`."""
        self.model.train()
        batches = self._source.train_batches(self._cell.seed, epoch, self._cell.recipe.batch_size, first)
        number = first
        for number, (x, y) in zip(range(first, last), batches, strict=False):
            logits = self.model(x)
            loss = functional.cross_entropy(logits, y)
            loss.backward()
            self._optimiser.step(self.schedule.lr(epoch * self.schedule.per_epoch + number))
            self._loss += loss.detach().double() * len(y)
            self._correct += (logits.detach().argmax(1) == y).sum()
            self._images += len(y)
            if pause():
                break
        return number + 1

    def evaluate(self) -> Scores:
        """See `Engine.evaluate`."""
        return evaluate(self.model, self._source.test_batches(self._cell.recipe.batch_size), self._device)

    def totals(self) -> tuple[float, int, int]:
        """See `Engine.totals`."""
        return self._loss.item(), int(self._correct.item()), self._images

    def set_totals(self, loss: float, correct: int, images: int) -> None:
        """See `Engine.set_totals`."""
        self._loss = torch.tensor(loss, dtype=torch.float64, device=self._device)
        self._correct = torch.tensor(correct, dtype=torch.int64, device=self._device)
        self._images = images

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


class GroupedBatchNorm(nn.BatchNorm2d):
    """BatchNorm with separate batch statistics for groups of images, as if each group were on its own GPU.

    The running statistics are those of the first group, as torch's `DataParallel` keeps those of its first replica.
    """

    groups: int

    @classmethod
    def take_over(cls, norm: nn.BatchNorm2d, groups: int) -> None:
        """Convert a BatchNorm layer in place, with its parameters and statistics."""
        norm.__class__ = cls
        norm.groups = groups  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise images (n, channels, height, width)."""
        if not self.training:
            return super().forward(x)
        first, *others = (x[part_of(0, len(x), (i, self.groups))] for i in range(self.groups))
        own = [functional.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps) for part in others]
        return torch.cat([super().forward(first), *own])


class Sgd:
    """SGD with momentum and weight decay, bit for bit the same as `torch.optim.SGD` (tested).

    `torch.optim.SGD` imports torch's compiler at the first use, which takes three seconds.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        The trainable parameters.
    momentum, weight_decay : float
        As in `torch.optim.SGD`, without Nesterov and dampening.
    """

    def __init__(self, parameters: list[nn.Parameter], momentum: float, weight_decay: float) -> None:
        self._parameters: list[torch.Tensor] = list(parameters)
        self._factor, self._decay = momentum, weight_decay
        self.momentum = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step with the gradients and delete them."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._decay:
            gradients = list(torch._foreach_add(gradients, self._parameters, alpha=self._decay))
        torch._foreach_mul_(self.momentum, self._factor)
        torch._foreach_add_(self.momentum, gradients)
        torch._foreach_add_(self._parameters, self.momentum, alpha=-lr)
        for parameter in self._parameters:
            parameter.grad = None
