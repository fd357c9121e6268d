"""CUDA graphs: work captured once and replayed with one launch instead of thousands."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

#: Runs before the capture, in which libraries choose algorithms and make their workspaces.
WARM_UP = 2


def warm_up(body: Callable[[], None], state: Sequence[torch.Tensor]) -> None:
    """Run a body a few times from the same state, and restore that state.

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
    Exception
        If it cannot be captured, whatever stopped it; the state is as it was.
    """

    #: One stream for all captures: libraries keep a workspace for each that they have seen.
    _side: torch.cuda.Stream | None = None

    def __init__(self, body: Callable[[], None], state: Sequence[torch.Tensor], pool: Any) -> None:
        current = torch.cuda.current_stream()
        side = Captured._side = Captured._side or torch.cuda.Stream()
        self._graph, self.pool = torch.cuda.CUDAGraph(), pool or torch.cuda.graph_pool_handle()
        begun = False
        try:
            side.wait_stream(current)
            with torch.cuda.stream(side):
                roomy = _warmed_up(body, state)
            current.wait_stream(side)
            if not roomy and pool is None:
                raise torch.OutOfMemoryError("a step does not fit the device's memory")
            # Otherwise the graphs captured before hold the memory that this one needs, and have warmed the libraries up.
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.empty_cache()
            begun = True
            # Threads that prepare data may call CUDA meanwhile.
            with torch.cuda.graph(self._graph, pool=self.pool, stream=side, capture_error_mode="thread_local"):
                body()
            begun = False
        except Exception as problem:
            raise problem.__context__ or problem from None  # what ends a failed capture fails, too
        finally:
            torch.cuda.set_stream(current)  # a capture that fails leaves its own
            current.wait_stream(side)
            if begun:
                recover(self.pool)

    def __call__(self) -> None:
        """Run the function once, without waiting for it."""
        self._graph.replay()


def recover(pool: Any) -> None:
    """Undo what a failed capture leaves behind in torch.

    Parameters
    ----------
    pool : object
        The memory it was given.
    """
    device = torch.cuda.current_device()
    with suppress(Exception):  # the allocator is still in that memory, and would free nothing more
        torch._C._cuda_endAllocateToPool(device, pool)
    with suppress(Exception):  # the generator still counts for that graph, and would draw nothing more
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(generator.clone_state())


def _warmed_up(body: Callable[[], None], state: Sequence[torch.Tensor]) -> bool:
    """Whether there was memory for `warm_up`; it is free again."""
    try:
        warm_up(body, state)
    except torch.OutOfMemoryError:
        return False
    return True
