"""What a training costs: FLOPs, bytes, memory, disk, time on a kind of GPU; without torch, numpy or pandas at import.

`bnonly.grid.plan` enumerates a network, `.work` counts a training, `.gpus` knows the devices, `.estimate` puts them
together, `.measured` corrects that by finished runs, `.table` is ``bnonly cost``.
"""

from bnonly.cost.counting import Work, work
from bnonly.cost.estimate import Estimate, estimate
from bnonly.cost.gpus import GPUS, Gpu, find_gpu

__all__ = ["GPUS", "Estimate", "Gpu", "Work", "estimate", "find_gpu", "work"]
