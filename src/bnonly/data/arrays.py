"""A data set that fits in memory: uint8 images on the device, augmented a batch at a time.

The batched augmentation is, image by image, the definition in Appendix B.1: flip, then shift by up to s pixels with
zeros brought in, then normalise.  Its draws are a function of (seed, epoch, image).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bnonly import seeds
from bnonly.spec import Recipe


@dataclass(frozen=True)
class ImageArrays:
    """Images and labels as NumPy arrays.

    Attributes
    ----------
    train_images, test_images : uint8 array (n, 3, height, width)
    train_labels, test_labels : int64 array (n,)
    classes : int
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int

    def checksum(self) -> str:
        """Return a SHA-256 over all images and labels."""
        total = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


class ArraySource:
    """Batches of an in-memory data set.

    Parameters
    ----------
    arrays : ImageArrays
        The data.
    recipe : Recipe
        Augmentation and image size.
    device : torch.device
        Where the data are kept and the batches made.

    Attributes
    ----------
    classes, train_images, test_images : int
        Numbers of classes and images.
    checksum : str
        SHA-256 of the data.
    """

    def __init__(self, arrays: ImageArrays, recipe: Recipe, device: torch.device) -> None:
        self.classes = arrays.classes
        self.train_images = len(arrays.train_labels)
        self.test_images = len(arrays.test_labels)
        self.checksum = arrays.checksum()
        self._recipe = recipe
        self._device = device
        pixels = arrays.train_images.astype(np.float64) / 255
        self.mean, self.std = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
        self._mean = torch.tensor(self.mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
        self._train = _resized(arrays.train_images, recipe.image_size).to(device)
        self._test = _resized(arrays.test_images, recipe.image_size).to(device)
        self._train_labels = torch.from_numpy(arrays.train_labels).to(device)
        self._test_labels = torch.from_numpy(arrays.test_labels).to(device)

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, first: int = 0
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of an epoch, the last one short.

        Parameters
        ----------
        seed, epoch : int
            What the order and the augmentation are a function of.
        batch_size : int
            Images a batch.
        first : int
            Number of the first batch wanted: a resumed run skips the others without drawing them.

        Yields
        ------
        images : float tensor (n, 3, height, width)
            Normalised.
        labels : int64 tensor (n,)
        """
        order = seeds.order(seed, epoch, self.train_images, self._device)
        for start in range(first * batch_size, self.train_images, batch_size):
            chosen = order[start : start + batch_size]
            yield self._normalise(self._augment(chosen, seed, epoch)), self._train_labels[chosen]

    def test_batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the test set in order, unaugmented; images and labels as `train_batches`."""
        for start in range(0, self.test_images, batch_size):
            part = slice(start, start + batch_size)
            yield self._normalise(self._test[part]), self._test_labels[part]

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() / 255 - self._mean) / self._std

    def _augment(self, chosen: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
        images = self._train[chosen]
        how = self._recipe.augmentation
        if not (how.flip or how.shift):
            return images
        flip, down, right, _ = seeds.words(seed, "augment", epoch, chosen)
        height, width = images.shape[2:]
        rows = torch.arange(height, device=self._device).expand(len(chosen), -1)
        columns = torch.arange(width, device=self._device).expand(len(chosen), -1)
        if how.shift:
            rows = rows + seeds.below(down, 2 * how.shift + 1)[:, None]
            columns = columns + seeds.below(right, 2 * how.shift + 1)[:, None]
            images = functional.pad(images, (how.shift,) * 4)  # zeros, before normalising
        if how.flip:  # of the image before it is shifted: read the padded columns from the other end
            columns = torch.where((flip >> 31).bool()[:, None], images.shape[3] - 1 - columns, columns)
        index = torch.arange(len(chosen), device=self._device)[:, None, None]
        return images.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _resized(images: np.ndarray, size: int) -> torch.Tensor:
    tensor = torch.from_numpy(images)
    if size in (0, tensor.shape[2]):
        return tensor
    larger = functional.interpolate(tensor.float(), size=(size, size), mode="bilinear", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8)
