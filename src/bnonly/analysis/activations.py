"""Measure how often each ReLU channel is exactly zero (Section 5, Figures 7 and 23-25)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bnonly.data import Batches


class _Counter:
    """Counts zeros per channel, separately for each application of a ReLU: torchvision's blocks apply one module twice."""

    def __init__(self) -> None:
        self.zeros: dict[tuple[str, int], torch.Tensor] = {}
        self.values: dict[tuple[str, int], int] = {}
        self._calls: dict[str, int] = {}

    def new_batch(self) -> None:
        self._calls.clear()

    def hook(self, name: str) -> Any:
        def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            call = self._calls.get(name, 0)
            self._calls[name] = call + 1
            key = name, call
            zeros = (output == 0).sum(dim=(0, 2, 3))
            self.zeros[key] = self.zeros.get(key, 0) + zeros
            self.values[key] = self.values.get(key, 0) + output.numel() // output.shape[1]

        return count


@torch.no_grad()
def activations(model: nn.Module, source: Batches, batch_size: int) -> dict[str, list[Any]]:
    """Measure Pr[activation = 0] of every ReLU channel over all test images and pixels, in evaluation mode.

    Returns
    -------
    dict
        The columns of schema ``activations``; later applications of one ReLU module are named ``name#1``, ``name#2``.
    """
    model.eval()
    counter = _Counter()
    hooks = [m.register_forward_hook(counter.hook(n)) for n, m in model.named_modules() if isinstance(m, nn.ReLU)]
    try:
        for images, _ in source.test_batches(batch_size):
            counter.new_batch()
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    columns: dict[str, list[Any]] = {n: [] for n in ("relu", "relu_index", "channel", "zero")}
    for index, ((name, call), zeros) in enumerate(counter.zeros.items()):
        share = zeros.double() / counter.values[name, call]
        columns["relu"] += [f"{name}#{call}" if call else name] * len(share)
        columns["relu_index"] += [index] * len(share)
        columns["channel"] += range(len(share))
        columns["zero"] += share.tolist()
    return columns
