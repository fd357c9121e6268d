"""Cells of every family and regime on small images, and comparisons of their networks."""

import dataclasses
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from bnonly.engines.fast import graph
from bnonly.grid.cell import Architecture, Cell, Recipe
from bnonly.grid.resolve import load_grid

ROOT = Path(__file__).parents[2]
PAPER = load_grid(ROOT / "config.yaml")
REGIMES = {c.regime.name: c.regime for c in PAPER.cells.values()}
CPU = torch.device("cpu")
FAMILIES = {
    "cifar-resnet": Architecture("a", "cifar-resnet", 8, 16),
    "vgg": Architecture("a", "vgg", 11, 4),
    "imagenet-basic": Architecture("a", "imagenet-resnet", 10, 16),
    "imagenet-bottleneck": Architecture("a", "imagenet-resnet", 50, 16),
}
#: 1,437 images: 22 whole batches and a short one.
RECIPE = Recipe("digits", 2.0, 64, 0.1, (0.5,), image_size=16, weight_decay=1e-3)


def cells(family, regime, precision="fp32"):
    # Fifty untrained layers have gradients so steep that a rounding error grows a thousandfold in a step of any length.
    recipe = dataclasses.replace(RECIPE, lr={"imagenet-basic": 1e-3, "imagenet-bottleneck": 1e-9}.get(family, 0.01))
    cell = Cell(FAMILIES[family], REGIMES[regime], recipe, seed=3)
    return cell, dataclasses.replace(cell, engine="fast", precision=precision)


def distance(a, b):
    """Relative distance of two tensors."""
    return float(((a - b).norm() / (b.norm() + 1e-12)).detach())


def check_same(mine, theirs, tolerance):
    """The same tensors by name, up to rounding."""
    assert mine.keys() == theirs.keys()
    for part in mine:
        assert mine[part].keys() == theirs[part].keys()
        for name, value in mine[part].items():
            assert distance(value, theirs[part][name]) <= tolerance, f"{part} {name}"


def saved_bytes(forward, masks=False):
    """Bytes of the activations that a forward pass keeps for the backward pass, each memory counted once; or masks, too."""
    kept = {}

    def pack(tensor):
        if (tensor.dim() == 4 and tensor.shape[0] == 8) or (masks and tensor.dtype == torch.uint8):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with saved_tensors_hooks(pack, lambda t: t):
        loss = forward()
    total = sum(size for size, _ in kept.values())
    loss.sum().backward()
    return total


class Replayed:
    """A captured graph without a GPU: the body runs at every replay; capturing leaves the state as it was."""

    made = 0

    def __init__(self, body, state, pool):
        graph.warm_up(body, state)
        type(self).made += 1
        self.pool, self._body = (0, 0), body

    def __call__(self):
        self._body()
