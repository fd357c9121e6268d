"""Replicates that train in the same launches, in Triton's interpreter: a process of its own (see test_kernels.py).

    python -m tests.engines.replicates REGIME PRECISION CHANNELS

Trains two alone and two together, lets one of these finish, and prints one line for each property that holds.
"""

import dataclasses
import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import torch

from bnonly.data import open_source
from bnonly.engines.fast import engine as fast_engine
from bnonly.engines.fast import graph
from bnonly.engines.fast.engine import FastEngine, Replicates
from bnonly.engines.triton import trial
from bnonly.grid.cell import Architecture, Augmentation, Cell, Recipe
from bnonly.grid.resolve import load_grid

CPU = torch.device("cpu")
RECIPE = Recipe(
    "digits", 2.0, 3, 0.1, (0.5,), augmentation=Augmentation(flip=True, shift=1), image_size=4, weight_decay=1e-3
)
#: Batches of an epoch.
LAST = 479


class Replayed:
    """A captured graph without a GPU: its body runs at every replay."""

    def __init__(self, body, state, pool):
        graph.warm_up(body, state)
        self.pool, self._body = (0, 0), body

    def __call__(self):
        self._body()


def engine(cell, source):
    """An engine as on a GPU, its steps taken as bodies of graphs."""
    made = FastEngine(cell, source, CPU)
    made._graphs = fast_engine._Graphs([made])
    return made


def main(regime, precision, channels):
    fast_engine.choose_backend = lambda cell, device: "triton" if cell.engine == "triton" else "torch"
    fast_engine.Captured, graph.WARM_UP = Replayed, 0
    source = open_source(RECIPE, Path(), CPU)
    like = load_grid("config.yaml").cell("ResNet-14", regime, 0).regime
    architecture = Architecture("a", "cifar-resnet", 8, int(channels))
    cells = [Cell(architecture, like, RECIPE, s, "triton", precision) for s in (0, 1)]
    alone, together = ([engine(c, source) for c in cells] for _ in range(2))
    for each in alone:
        each.train(0, LAST - 2, LAST, lambda: False)
    joint = Replicates(together)
    joint._graphs = fast_engine._Graphs(together)
    if joint._graphs._replicas is not None:
        print("in the same launches")
    joint.train(0, LAST - 2, LAST - 1, lambda: False)
    if precision == "fp32":  # the interpreter rounds bf16 in a way of its own, so that a copy made again is another
        for each in together:
            fast_engine._lay_side_by_side([each])
            each._graphs = fast_engine._Graphs([each])
            each.train(0, LAST - 1, LAST, lambda: False)
    else:
        joint.train(0, LAST - 1, LAST, lambda: False)
    pairs = [
        (tensor, other.state()[part][name])
        for one, other in zip(alone, together, strict=True)
        for part, tensors in one.state().items()
        for name, tensor in tensors.items()
    ]
    if all(torch.equal(*pair) for pair in pairs) and not torch.equal(pairs[0][0], pairs[len(pairs) // 2][0]):
        print("the same as alone, to the bit")
    if precision == "fp32":
        plain = engine(dataclasses.replace(cells[1], engine="fast"), source)
        plain.train(0, LAST - 2, LAST, lambda: False)
        near = [
            trial.error(tensor, plain.state()[part][name]) < 1e-4
            for part, tensors in together[1].state().items()
            for name, tensor in tensors.items()
        ]
        if all(near):
            print("close to the engine without kernels")


if __name__ == "__main__":
    with trial.cut(PROGRAMS=4, FILLING=1):  # the fewer programs, the sooner the interpreter is done
        main(*sys.argv[1:])
