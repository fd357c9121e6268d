"""The learning rate of every iteration (Appendix B)."""

from __future__ import annotations

import math

from bnonly.grid.cell import Recipe


class Schedule:
    """Linear warm-up from 0, then the initial rate, divided at each milestone; computed per iteration.

    Parameters
    ----------
    recipe : Recipe
        Epochs, milestones, warm-up, rate.
    images : int
        Training images of the data set.

    Attributes
    ----------
    per_epoch : int
        Iterations of an epoch, including the short last batch.
    total : int
        Iterations of the whole training.
    """

    def __init__(self, recipe: Recipe, images: int) -> None:
        self._recipe = recipe
        self.per_epoch = math.ceil(images / recipe.batch_size)
        self.total = max(1, round(recipe.epochs * self.per_epoch))
        self._milestones = [round(m * self.per_epoch) for m in recipe.milestones]
        self._warmup = round(recipe.warmup_epochs * self.per_epoch)

    def lr(self, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 0."""
        rate = self._recipe.lr * self._recipe.drop ** sum(iteration >= m for m in self._milestones)
        return rate * iteration / self._warmup if iteration < self._warmup else rate
