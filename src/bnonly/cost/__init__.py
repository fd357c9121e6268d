"""The cost of a training: FLOPs, bytes, memory, disk, time on a kind of GPU; imports no torch, numpy or pandas.

`bnonly.grid.plan` lists a network's operations.  `.step` counts one training step, `.training` a whole training.  `.gpus`
lists the devices.  `.model` and `.estimate` combine them, `.measured` corrects the result from finished runs, and `.total` adds
up the costs of figures and experiments.
"""

from bnonly.cost.estimate import Estimate, estimate
from bnonly.cost.gpus import GPUS, Gpu, find_gpu
from bnonly.cost.training import Training, count_training

__all__ = ["GPUS", "Estimate", "Gpu", "Training", "count_training", "estimate", "find_gpu"]
