"""Clamp small gammas to zero (Section 5, Figure 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bnonly.data import Batches
from bnonly.engines.evaluate import evaluate
from bnonly.grid.thresholds import SMALL
from bnonly.networks import regimes

#: The paper's thresholds; 0 is the untouched network.
THRESHOLDS = (0.0, *SMALL)


def clamping(model: nn.Module, source: Batches, batch_size: int, device: torch.device) -> dict[str, list[Any]]:
    """Score a network after setting every gamma of magnitude below a threshold to 0.

    This applies to all BatchNorm layers; beta and the running statistics are unchanged.

    Returns
    -------
    dict
        The columns of schema ``clamping``.
    """
    norms = [m for _, m in regimes.find_batchnorms(model)]
    original = [m.weight.detach().clone() for m in norms]
    rows: dict[str, list[Any]] = {
        n: [] for n in ("threshold", "gammas", "clamped", "test_loss", "test_top1", "test_top5")
    }
    for threshold in THRESHOLDS:
        clamped = 0
        with torch.no_grad():
            for norm, gamma in zip(norms, original, strict=True):
                small = gamma.abs() < threshold
                norm.weight.copy_(gamma.masked_fill(small, 0.0))
                clamped += int(small.sum())
        scores = evaluate(model, source.test_batches(batch_size), device)
        rows["threshold"].append(threshold)
        rows["gammas"].append(sum(g.numel() for g in original))
        rows["clamped"].append(clamped)
        rows["test_loss"].append(scores.loss)
        rows["test_top1"].append(scores.top1)
        rows["test_top5"].append(scores.top5)
    with torch.no_grad():
        for norm, gamma in zip(norms, original, strict=True):
            norm.weight.copy_(gamma)
    return rows
