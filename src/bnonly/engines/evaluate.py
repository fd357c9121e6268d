"""Loss and accuracy over a test set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats; top-1 and top-5 accuracy as fractions."""

    loss: float
    top1: float
    top5: float


class Tally:
    """Sums over a test set, kept on the device until `scores` reads them.

    With fewer than five classes, top-5 counts all of them.  Non-finite logits score as torch's `topk` ranks
    them, at best by chance; this is the accuracy of a diverged run.

    Parameters
    ----------
    device : torch.device
        Device of the sums.
    """

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._hits = torch.zeros(2, dtype=torch.int64, device=device)
        self.sums = [self._loss, self._hits]

    def clear(self) -> None:
        """Set the sums to zero."""
        for total in self.sums:
            total.zero_()

    def add(self, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Add a batch: logits (n, classes) and labels (n,)."""
        self._loss += functional.cross_entropy(logits, y, reduction="sum").double()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
        self._hits += torch.stack((best[:, 0].sum(), best.sum()))

    def scores(self, images: int) -> Scores:
        """Return the scores over that many images."""
        top1, top5 = self._hits.tolist()
        return Scores(self._loss.item() / images, top1 / images, top5 / images)


@torch.no_grad()
def evaluate(
    network: Callable[[torch.Tensor], torch.Tensor],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device,
) -> Scores:
    """Score a network in evaluation mode, and restore its mode.

    Parameters
    ----------
    network : torch.nn.Module or function
        Maps images to logits; a function must compute in evaluation mode.
    batches : iterable of (images, labels)
        On the network's device.
    device : torch.device
        Device of the sums.
    """
    module = network if isinstance(network, nn.Module) else nn.Identity()
    was_training = module.training
    module.eval()
    tally, images = Tally(device), 0
    for x, y in batches:
        tally.add(network(x), y)
        images += len(y)
    module.train(was_training)
    return tally.scores(images)
