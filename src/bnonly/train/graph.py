"""Work captured once as a CUDA graph and replayed: one launch instead of thousands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Runs before the capture, in which libraries choose algorithms and make their workspaces.
WARM_UP = 2


def warm_up(body: Callable[[], None], state: Sequence[torch.Tensor]) -> None:
    """Run a body a few times, each time from the same state, and leave that as it was.

    Not from where the last run ended: behind the last batch of an epoch there is no other.
    """
    before = [t.detach().clone() for t in state]
    for _ in range(WARM_UP):
        try:
            body()
        finally:
            with torch.no_grad():
                for tensor, value in zip(state, before, strict=True):
                    tensor.copy_(value)


class Captured:
    """A function of no arguments that reads and writes tensors in place, as a CUDA graph.

    Parameters
    ----------
    body : function
        What to capture; it must not wait for the device.
    state : sequence of tensor
        What it changes: capturing leaves it as it was.
    pool : object, optional
        Memory shared with a graph that never runs at the same time.

    Raises
    ------
    RuntimeError
        If it cannot be captured; the state is as it was.
    """

    def __init__(self, body: Callable[[], None], state: Sequence[torch.Tensor], pool: Any) -> None:
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                warm_up(body, state)
            current.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                body()
        finally:
            torch.cuda.set_stream(current)  # a capture that fails leaves its own
            current.wait_stream(side)

    @property
    def pool(self) -> Any:
        """The graph's memory, to be shared with others."""
        return self._graph.pool()

    def __call__(self) -> None:
        """Run it once; the host does not wait."""
        self._graph.replay()
