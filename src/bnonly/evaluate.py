"""Loss and accuracy over a test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats; top-1 and top-5 accuracy as shares of 1."""

    loss: float
    top1: float
    top5: float


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> Scores:
    """Score a network in evaluation mode; the mode it was in is restored.

    Parameters
    ----------
    model : torch.nn.Module
        Maps images to logits.
    batches : iterable of (images, labels)
        On the model's device.
    device : torch.device
        Where sums are kept.

    Notes
    -----
    With fewer than five classes top-5 counts all of them.  Logits that are not finite score what torch's `topk` makes of
    them, chance at best: the measured accuracy of a diverged run.
    """
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    hits = torch.zeros(2, dtype=torch.int64, device=device)
    images = 0
    for x, y in batches:
        logits = model(x)
        loss += functional.cross_entropy(logits, y, reduction="sum").double()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
        hits[0] += best[:, 0].sum()
        hits[1] += best.sum()
        images += len(y)
    model.train(was_training)
    return Scores(loss.item() / images, hits[0].item() / images, hits[1].item() / images)
