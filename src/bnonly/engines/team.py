"""The processes that train one cell together, one a GPU, each on its share of every batch."""

from __future__ import annotations

from typing import Any

import torch


class Team:
    """One process alone: everything is its own."""

    rank, size = 0, 1

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        return tensor

    def largest(self, value: int) -> int:
        """Return the largest of all processes' numbers; who waits for it, waits for all."""
        return value

    def take_first(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by the first process's."""


class Joined(Team):
    """One process among those that torch's launcher started.

    Parameters
    ----------
    device : torch.device
        Where this process computes: sums of tensors there go through NCCL on GPUs, through Gloo on CPUs.
    """

    def __init__(self, device: torch.device) -> None:
        import torch.distributed as dist

        self._dist: Any = dist
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """See `Team.add_up`."""
        self._dist.all_reduce(tensor)
        return tensor

    def largest(self, value: int) -> int:
        """See `Team.largest`."""
        flag = torch.tensor(value)
        self._dist.all_reduce(flag, op=self._dist.ReduceOp.MAX)
        return int(flag)

    def take_first(self, tensor: torch.Tensor) -> None:
        """See `Team.take_first`."""
        self._dist.broadcast(tensor, 0)

    def leave(self) -> None:
        """Say goodbye to the others."""
        self._dist.destroy_process_group()
