"""CUDA graphs: work captured once and replayed with one launch instead of thousands."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

#: Runs before the capture, in which libraries choose algorithms and allocate workspaces.
WARM_UP = 2


def warm_up(body: Callable[[], None], state: Sequence[torch.Tensor]) -> None:
    """Run a body a few times from the same state, and restore that state.

    Each run starts from the same state because the last batch of an epoch has no successor.
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
        Function to capture; it must not wait for the device.
    state : sequence of tensor
        Tensors that it changes; capturing restores them.
    pool : object, optional
        Memory shared with a graph that never runs at the same time.

    Raises
    ------
    Exception
        Any error that stops the capture; the state is restored.
    """

    #: One stream for all captures, because libraries keep a workspace per stream.
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
            # Otherwise earlier graphs hold the memory that this one needs, and have already warmed up the libraries.
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.empty_cache()
            begun = True
            # Data threads may call CUDA during the capture.
            with torch.cuda.graph(self._graph, pool=self.pool, stream=side, capture_error_mode="thread_local"):
                body()
            begun = False
        except Exception as problem:
            raise problem.__context__ or problem from None  # ending a failed capture raises too and hides the cause
        finally:
            torch.cuda.set_stream(current)  # a failed capture leaves its stream current
            current.wait_stream(side)
            if begun:
                recover(self.pool)

    def __call__(self) -> None:
        """Run the function once, without waiting for it."""
        self._graph.replay()


def recover(pool: Any) -> None:
    """Clean up torch's state after a failed capture.

    Parameters
    ----------
    pool : object
        The memory of the capture.
    """
    device = torch.cuda.current_device()
    with suppress(Exception):  # the allocator still uses that memory, and would free nothing more
        torch._C._cuda_endAllocateToPool(device, pool)
    with suppress(Exception):  # the generator is still bound to that graph, and would draw nothing more
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(generator.clone_state())


def _warmed_up(body: Callable[[], None], state: Sequence[torch.Tensor]) -> bool:
    """Run `warm_up`; return whether the memory was sufficient.  It is free again afterwards."""
    try:
        warm_up(body, state)
    except torch.OutOfMemoryError:
        return False
    return True
