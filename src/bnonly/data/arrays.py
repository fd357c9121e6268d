"""A data set that fits in memory: uint8 images on the device, augmented batch by batch.

The augmentation of each image is that of Appendix B.1: flip, then shift by up to s pixels with
zero padding, then normalise.  Its draws are a function of (seed, epoch, image).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bnonly import seeds
from bnonly.data.batches import ALL, Batch, Buffers, Normaliser, Share, part_of
from bnonly.data.prepared import Manifest
from bnonly.grid.cell import Recipe
from bnonly.grid.datasets import Inputs


@dataclass(frozen=True)
class ImageArrays:
    """Images and labels as NumPy arrays.

    Attributes
    ----------
    train_images, test_images : uint8 array (n, height, width, 3)
    train_labels, test_labels : int64 array (n,)
    classes : int
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int

    def checksum(self) -> str:
        """Return a SHA-256 over all images, plane by plane, and labels."""
        total = hashlib.sha256()
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            total.update(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).data)
            total.update(np.ascontiguousarray(labels).data)
        return total.hexdigest()

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each channel of the training images, for pixels in [0, 1].

        Computed from counts of the 256 values, so independent of the machine and the order of the images.
        """
        return statistics(np.stack([np.bincount(self.train_images[..., c].ravel(), minlength=256) for c in range(3)]))


@dataclass(frozen=True)
class Decoded:
    """A data set that fits in memory, as its source has it.

    Attributes
    ----------
    arrays : ImageArrays
        Images and labels.
    class_names : list of str
        In the order of the labels.
    record : dict
        Description of the source, for the manifest.
    stored : str
        How the images are stored, in words.
    unreadable : list of str
        Images that could not be read.
    left_aside : list of str
        Files that are not images of the data set.
    """

    arrays: ImageArrays
    class_names: list[str]
    record: dict[str, Any]
    stored: str
    unreadable: list[str]
    left_aside: list[str] = field(default_factory=list)


def statistics(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel, for pixels in [0, 1].

    Parameters
    ----------
    counts : int array (3, 256)
        How often each channel has each value.
    """
    share = counts / counts.sum(axis=1, keepdims=True)
    value = np.arange(256) / 255
    mean = share @ value
    return mean, np.sqrt((share * (value - mean[:, None]) ** 2).sum(axis=1))


class ArraySource:
    """Batches of an in-memory data set; see `bnonly.data.batches.Batches`.

    Parameters
    ----------
    arrays : ImageArrays
        The data.
    recipe : Recipe
        Augmentation and image size.
    device : torch.device
        Device of the data and the batches.
    manifest : Manifest, optional
        Of prepared data.  Has the checksum and the statistics; without it they are computed.
    """

    def __init__(
        self, arrays: ImageArrays, recipe: Recipe, device: torch.device, manifest: Manifest | None = None
    ) -> None:
        self.classes = arrays.classes
        self.train_images = len(arrays.train_labels)
        self.test_images = len(arrays.test_labels)
        self.checksum = manifest.checksum if manifest else arrays.checksum()
        self.mean, self.std = (manifest or arrays).statistics()
        self._how = recipe.augmentation
        self._device = device
        self._train = sized(arrays.train_images, recipe.image_size).to(device)
        self._test = sized(arrays.test_images, recipe.image_size).to(device)
        # The digits, which come without a manifest, are their own names.
        names = manifest.class_names if manifest else list(map(str, range(arrays.classes)))
        stored, side = arrays.test_images.shape[1], self._test.shape[1]
        self.inputs = Inputs(names, self.mean.tolist(), self.std.tolist(), stored, side)
        self._train_labels, self._test_labels = (
            torch.from_numpy(np.ascontiguousarray(labels)).to(device)
            for labels in (arrays.train_labels, arrays.test_labels)
        )
        self._normalise = Normaliser(self.mean, self.std, self._train.shape[1], device)
        self._buffers = Buffers(keep=4)

    def draws(self, seed: int, epoch: int) -> list[torch.Tensor]:
        """Return all random choices of an epoch, in the order of its images.

        Returns
        -------
        order : int64 tensor (train_images,)
            Indices of the images.
        flip : bool tensor (train_images,)
        down, right : int64 tensor (train_images,)
            See `augment`.
        """
        # Drawn for the whole epoch: on a CPU, draws per batch of 128 would cost as much as all other work.
        order = seeds.order(seed, epoch, self.train_images, self._device)
        flip, down, right, _ = seeds.words(seed, "augment", epoch, order)
        span = 2 * self._how.shift + 1
        return [order, flip >> 31 == 1, seeds.below(down, span), seeds.below(right, span)]

    def train_batch(self, draws: list[torch.Tensor], part: slice | torch.Tensor) -> Batch:
        """Make a batch of an epoch.

        Parameters
        ----------
        draws : list of tensor
            From `draws`.
        part : slice or int64 tensor (n,)
            Positions in the epoch's order.
        """
        order, flip, down, right = (d[part] for d in draws)
        images = self._train.index_select(0, order)
        images = augment(images, flip if self._how.flip else None, self._how.shift, down, right)
        return self._finish(images), self._train_labels[order]

    def test_batch(self, part: slice | torch.Tensor) -> Batch:
        """Make a batch of the test images at these positions."""
        return self._finish(self._test[part]), self._test_labels[part]

    def stored(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the training images (n, height, width, 3), their labels, mean and standard deviation (3,)."""
        return self._train, self._train_labels, *self._normalise.channels

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, first: int = 0, share: Share = ALL
    ) -> Iterator[Batch]:
        """See `bnonly.data.batches.Batches.train_batches`."""
        draws = self.draws(seed, epoch)
        for start in range(first * batch_size, self.train_images, batch_size):
            stop = min(start + batch_size, self.train_images)
            yield self.train_batch(draws, part_of(start, stop, share))

    def test_batches(self, batch_size: int, share: Share = ALL) -> Iterator[Batch]:
        """See `bnonly.data.batches.Batches.test_batches`."""
        for start in range(share[0] * batch_size, self.test_images, share[1] * batch_size):
            yield self.test_batch(slice(start, start + batch_size))

    def _finish(self, images: torch.Tensor) -> torch.Tensor:
        out = self._buffers.take(tuple(images.shape)) if self._device.type == "cpu" else None
        return self._normalise(images, out).permute(0, 3, 1, 2)


def augment(
    images: torch.Tensor, flip: torch.Tensor | None, shift: int, down: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Mirror and shift a batch.

    Parameters
    ----------
    images : uint8 tensor (n, height, width, 3)
        Unaugmented images.
    flip : bool tensor (n,), optional
        The images to mirror left to right, before the shift.
    shift : int
        Largest shift in pixels.
    down, right : int64 tensors (n,)
        Offset of the window in the image padded with `shift` zeros on each side, in [0, 2 * shift].

    Returns
    -------
    uint8 tensor (n, height, width, 3)
    """
    if flip is None and not shift:
        return images
    n, height, width, channels = images.shape
    which = torch.arange(n, device=images.device)
    if flip is not None:
        images = torch.cat((images, images.flip(2)))
        which = which + n * flip
    padded = functional.pad(images, (0, 0, shift, shift, shift, shift))
    # Every window of every padded image, as a view; indexing it copies rows of whole pixels.
    span, (of_image, of_row, of_pixel, _) = 2 * shift + 1, padded.stride()
    windows = padded.as_strided(
        (len(padded), span, span, height, width * channels), (of_image, of_row, of_pixel, of_row, 1)
    )
    return windows[which, down, right].view(n, height, width, channels)


def sized(images: np.ndarray, size: int) -> torch.Tensor:
    """Return images, uint8 (n, side, side, 3), at another side in pixels; 0 keeps it."""
    tensor = torch.from_numpy(images)
    if size in (0, tensor.shape[1]):
        return tensor
    planes = tensor.permute(0, 3, 1, 2).float()
    larger = functional.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
