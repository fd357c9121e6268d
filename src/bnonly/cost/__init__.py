"""What a training costs: FLOPs, bytes, memory, disk, time on a kind of GPU; without torch, numpy or pandas at import.

`bnonly.grid.plan` lists a network's operations, `.step` counts one training step, `.training` a whole training; `.gpus`
knows the devices, `.model` and `.estimate` put them together, `.measured` corrects that by finished runs, `.total` adds
up what figures and experiments cost.
"""

from bnonly.cost.estimate import Estimate, estimate
from bnonly.cost.gpus import GPUS, Gpu, find_gpu
from bnonly.cost.training import Training, count_training

__all__ = ["GPUS", "Estimate", "Gpu", "Training", "count_training", "estimate", "find_gpu"]
