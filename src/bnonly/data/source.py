"""What training and analysis ask of a data set, and the one definition of normalising."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

Batch = tuple[torch.Tensor, torch.Tensor]


class Source(Protocol):
    """Batches of an opened data set.

    Attributes
    ----------
    classes, train_images, test_images : int
        Numbers of classes and images.
    checksum : str
        SHA-256 of the data.
    mean, std : float64 array (3,)
        Of the training set's channels, of pixels in [0, 1].
    """

    classes: int
    train_images: int
    test_images: int
    checksum: str
    mean: np.ndarray
    std: np.ndarray

    def train_batches(self, seed: int, epoch: int, batch_size: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, the last one short.

        Parameters
        ----------
        seed, epoch : int
            What the order and the augmentation are a function of.
        batch_size : int
            Images a batch.
        first : int
            Number of the first batch wanted: a resumed run reads no others.

        Yields
        ------
        images : float tensor (n, 3, height, width)
            Normalised; in channels-last order in memory, which convolutions take over and are faster with.
        labels : int64 tensor (n,)
        """

    def test_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the test set in order, unaugmented; images and labels as `train_batches`."""


class Normaliser:
    """(x / 255 - mean) / std of each channel.

    Parameters
    ----------
    mean, std : array (3,)
        Of the training set.
    size : int
        Side of the images.
    device : torch.device
        Where the images are.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, size: int, device: torch.device) -> None:
        # A whole image's worth of each constant: with only three values in the innermost dimension a CPU takes seven
        # times as long, for the same bits.
        self._mean, self._std = (
            torch.tensor(np.tile(values, size * size), dtype=torch.float32, device=device) for values in (mean, std)
        )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn a uint8 tensor (n, height, width, 3) into a normalised float tensor (n, 3, height, width)."""
        flat = images.reshape(len(images), -1).float().div_(255).sub_(self._mean).div_(self._std)
        return flat.view(images.shape).permute(0, 3, 1, 2)

    def one(self, image: torch.Tensor, out: torch.Tensor) -> None:
        """Do the same to a single image (height, width, 3), into a float tensor of that shape."""
        torch.div(image.reshape(-1).float().div_(255).sub_(self._mean), self._std, out=out.view(-1))
