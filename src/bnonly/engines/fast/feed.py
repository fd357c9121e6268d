"""Batches for a CUDA graph: memory filled outside the graph and read at every replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from bnonly.data import Batches
from bnonly.data.arrays import ArraySource
from bnonly.data.batches import Batch
from bnonly.grid.cell import Cell

#: Images to augment at a time when an epoch begins: few launches, and little memory beyond the epoch's.
AT_ONCE = 8192


class Feed(Protocol):
    """A cell's batches, epoch by epoch."""

    def begin(self, epoch: int, first: int) -> None:
        """Prepare an epoch, from this batch on."""

    def receive(self) -> None:
        """Prepare the next batch; called before each replay."""

    def batch(self, place: torch.Tensor, images: int) -> Batch:
        """Return a batch; called inside the graph.

        Parameters
        ----------
        place : int64 tensor ()
            Position of its first image in the epoch's order, on the device.
        images : int
            Number of images.
        """


def make_feed(cell: Cell, source: Batches, device: torch.device, dtype: torch.dtype, backend: str) -> Feed:
    """Return the feed of a cell's training, with images in `dtype`, for a data set on the device or a streamed one."""
    if not isinstance(source, ArraySource):
        return _Streamed(cell, source)
    if backend == "triton":
        return _Drawn(cell, source, dtype)
    return _Epoch(cell, source, device, dtype)


class _Epoch:
    """An epoch's images, augmented and normalised when it begins, so that a batch takes two copies."""

    def __init__(self, cell: Cell, source: ArraySource, device: torch.device, dtype: torch.dtype) -> None:
        self._seed, self._source, self._dtype = cell.seed, source, dtype
        self._count = torch.arange(cell.recipe.batch_size, device=device)
        # Allocated on first use, because a replicate that trains with others does not use its own feed.
        self._images = self._labels = torch.empty(0, device=device)

    def begin(self, epoch: int, first: int) -> None:
        """See `Feed`."""
        data, labels, *_ = self._source.stored()
        if not len(self._images):
            self._images, self._labels = torch.empty_like(data, dtype=self._dtype), torch.empty_like(labels)
        draws = self._source.draws(self._seed, epoch)
        for start in range(0, len(labels), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            x, y = self._source.train_batch(draws, part)
            self._images[part].copy_(x.permute(0, 2, 3, 1))
            self._labels[part].copy_(y)

    def receive(self) -> None:
        """See `Feed`."""

    def batch(self, place: torch.Tensor, images: int) -> Batch:
        """See `Feed`."""
        where = place + self._count[:images]
        return self._images.index_select(0, where).permute(0, 3, 1, 2), self._labels.index_select(0, where)


class _Drawn:
    """An epoch's random draws, from which one launch of `bnonly.engines.triton.augmentation.augment` makes a batch."""

    def __init__(self, cell: Cell, source: ArraySource, dtype: torch.dtype) -> None:
        self._cell, self._source, self._dtype = cell, source, dtype
        self._draws: list[torch.Tensor] = []

    def begin(self, epoch: int, first: int) -> None:
        """See `Feed`."""
        draws = self._source.draws(self._cell.seed, epoch)
        if not self._draws:
            self._draws = [torch.empty_like(d) for d in draws]
        for kept, drawn in zip(self._draws, draws, strict=True):
            kept.copy_(drawn)

    def receive(self) -> None:
        """See `Feed`."""

    def batch(self, place: torch.Tensor, images: int) -> Batch:
        """See `Feed`."""
        from bnonly.engines.triton.augmentation import augment

        data, labels, mean, std = self._source.stored()
        order, flip, down, right = self._draws
        how = self._cell.recipe.augmentation
        x = torch.empty((images, *data.shape[1:]), dtype=self._dtype, device=data.device).permute(0, 3, 1, 2)
        y = torch.empty(images, dtype=torch.int64, device=data.device)
        augment(data, labels, order, flip if how.flip else None, down, right, how.shift, mean, std, place, x, y)
        return x, y


class _Streamed:
    """Batches that arrive one by one; all batches of a size use the same memory."""

    def __init__(self, cell: Cell, source: Batches) -> None:
        self._cell, self._source = cell, source
        self._arriving: Iterator[Batch] = iter(())
        self._kept: dict[int, Batch] = {}

    def begin(self, epoch: int, first: int) -> None:
        """See `Feed`."""
        self._arriving = self._source.train_batches(self._cell.seed, epoch, self._cell.recipe.batch_size, first)

    def receive(self) -> None:
        """See `Feed`."""
        arrived = next(self._arriving)
        images = len(arrived[1])
        if images not in self._kept:
            x, y = arrived
            self._kept[images] = torch.empty_like(x), torch.empty_like(y)
        for kept, new in zip(self._kept[images], arrived, strict=True):
            kept.copy_(new)

    def batch(self, place: torch.Tensor, images: int) -> Batch:
        """See `Feed`."""
        return self._kept[images]
