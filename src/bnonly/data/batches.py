"""The interface of a data set to training and analysis, and the normalisation of images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from bnonly.grid.datasets import Inputs

Batch = tuple[torch.Tensor, torch.Tensor]
#: Index of a part, and the number of parts.
Share = tuple[int, int]
ALL: Share = (0, 1)


def part_of(start: int, stop: int, share: Share) -> slice:
    """Return one part of a range; parts differ in length by at most one."""
    which, parts = share
    count = stop - start
    return slice(start + count * which // parts, start + count * (which + 1) // parts)


class Batches(Protocol):
    """Batches of an opened data set.

    Attributes
    ----------
    classes, train_images, test_images : int
        Numbers of classes and images.
    checksum : str
        SHA-256 of the data.
    mean, std : float64 array (3,)
        Mean and standard deviation of the training set's channels, for pixels in [0, 1].
    inputs : Inputs
        What is stored with a trained network.
    """

    classes: int
    train_images: int
    test_images: int
    checksum: str
    mean: np.ndarray
    std: np.ndarray
    inputs: Inputs

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, first: int = 0, share: Share = ALL
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch, the last one short.

        Parameters
        ----------
        seed, epoch : int
            They determine the order and the augmentation.
        batch_size : int
            Images per batch.
        first : int
            First batch to yield; a resumed run does not read earlier ones.
        share : (int, int)
            Index of the part of every batch, and the number of parts.

        Yields
        ------
        images : float tensor (n, 3, height, width)
            Normalised, channels last in memory, because convolutions are faster in this layout.
        labels : int64 tensor (n,)
        """

    def test_batches(self, batch_size: int, share: Share = ALL) -> Iterator[Batch]:
        """Yield the test set in order, unaugmented; images and labels as in `train_batches`; `share` selects every so-manyth batch."""


class Buffers:
    """Memory for normalised batches on the CPU, reused as soon as no tensor refers to it.

    Touching fresh memory costs more than all the arithmetic on a batch.

    Parameters
    ----------
    keep : int
        Most batches to keep memory for.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return an uninitialised float tensor."""
        for array in self._kept:
            # Three references: the list, `array`, the function's argument.  A tensor or its view would add one.
            if array.shape == shape and sys.getrefcount(array) == 3:
                return torch.from_numpy(array)
        array = np.empty(shape, np.float32)
        self._kept = [array, *self._kept[: self._keep - 1]]
        return torch.from_numpy(array)


class Normaliser:
    """(x / 255 - mean) / std of each channel.

    Parameters
    ----------
    mean, std : array (3,)
        Mean and standard deviation of the training set.
    size : int
        Side of the images.
    device : torch.device
        Device of the images.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, size: int, device: torch.device) -> None:
        # Each constant has the size of an image: with only three values in the innermost dimension, a CPU takes seven
        # times as long for the same bits.
        self._mean, self._std = (
            torch.tensor(np.tile(values, size * size), dtype=torch.float32, device=device) for values in (mean, std)
        )

    @property
    def channels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, float32 (3,)."""
        return self._mean[:3], self._std[:3]

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalise images.

        Parameters
        ----------
        images : uint8 tensor (n, height, width, 3)
            Or a single image (height, width, 3).
        out : float tensor of the same shape, optional
            Receives the result.

        Returns
        -------
        float tensor
            Of the same shape.
        """
        result = images.float() if out is None else out.copy_(images)
        flat = result.view(-1, len(self._mean))
        flat.div_(255).sub_(self._mean).div_(self._std)
        return result
