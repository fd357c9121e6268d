"""Work captured once as a CUDA graph and replayed: one launch instead of thousands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Runs before the capture, in which libraries choose algorithms and make their workspaces.
WARM_UP = 2


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
        before = [t.detach().clone() for t in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    body()
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                body()
        finally:
            with torch.no_grad():
                for tensor, value in zip(state, before, strict=True):
                    tensor.copy_(value)

    @property
    def pool(self) -> Any:
        """The graph's memory, to be shared with others."""
        return self._graph.pool()

    def __call__(self) -> None:
        """Run it once; the host does not wait."""
        self._graph.replay()
