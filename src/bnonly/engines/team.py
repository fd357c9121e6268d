"""The processes that train one cell on several GPUs, each with its share of every batch."""

from __future__ import annotations

from typing import Any

import torch


class Team:
    """A single process."""

    rank, size = 0, 1

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor with its sum over all processes, and return it."""
        return tensor

    def largest(self, value: int) -> int:
        """Wait for all processes and return the largest of their values."""
        return value

    def take_first(self, tensor: torch.Tensor) -> None:
        """Replace a tensor with that of the first process."""


#: The only process of a training on one device.
ALONE = Team()


class Joined(Team):
    """One of the processes that torch's launcher started.

    Parameters
    ----------
    device : torch.device
        Device of this process.  NCCL adds up tensors on GPUs, Gloo on CPUs.
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
        """Leave the process group."""
        self._dist.destroy_process_group()
