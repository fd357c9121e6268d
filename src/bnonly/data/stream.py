"""Batches of a packed set of photographs; threads decode, crop and resize ahead of training.

Decoding and resizing release Python's GIL, so threads do the work of processes without their copies, start-up
time or memory.  A batch's images, crops and flips are drawn before the threads see it, so the number of
threads changes only the speed.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from bnonly import seeds
from bnonly.data import crops, prepared
from bnonly.data.batches import ALL, Batch, Buffers, Normaliser, Share, part_of
from bnonly.data.decoding import decode_plain, read_rgb
from bnonly.data.pack import INDEX, pack_name
from bnonly.data.unreadable import cpus, reason
from bnonly.errors import UserError
from bnonly.grid.cell import Recipe
from bnonly.grid.datasets import Inputs

#: Images per task of a thread.
SHARE = 16
#: Most batches in transfer to a GPU.
SENT = 3
#: Images per call of the random draws.
DRAWN = 8192


class _Part:
    """The training or test images: their index and open packs; `remedy` is for messages about damaged files."""

    def __init__(self, folder: Path, part: str, manifest: prepared.Manifest, remedy: str) -> None:
        self._folder, self._part, self._remedy = folder, part, remedy
        index = folder / f"{part}.index"
        try:
            if prepared.describe(index) != manifest.files[index.name]:
                raise UserError(f"{index}: differs from the prepared file (SHA-256 mismatch); {remedy}")
            self.index = np.fromfile(index, INDEX)
            count = int(self.index["pack"].max()) + 1
            self._packs = [os.open(folder / pack_name(part, i), os.O_RDONLY) for i in range(count)]
        except OSError as problem:
            raise UserError(f"{problem.filename or index}: cannot be read: {problem.strerror}") from None
        self.labels = torch.from_numpy(self.index["label"].astype(np.int64))

    def __len__(self) -> int:
        return len(self.index)

    def __del__(self) -> None:
        for pack in getattr(self, "_packs", []):
            os.close(pack)

    def decode(self, number: int) -> torch.Tensor:
        """Return an image as a uint8 tensor (3, height, width), channels last in memory."""
        row = self.index[number]
        content = bytearray(int(row["size"]))
        got = os.preadv(self._packs[row["pack"]], [content], int(row["offset"]))
        if got != len(content) or zlib.crc32(content) != row["crc"]:
            raise self._problem(number, "differs from the prepared image (CRC mismatch)")
        try:
            if row["plain"]:
                return decode_plain(content)
            return torch.from_numpy(np.array(read_rgb(bytes(content))[0])).permute(2, 0, 1)
        except Exception as problem:  # the decoder's version may have changed since preparation
            raise self._problem(number, f"cannot be decoded ({reason(problem)})") from None

    def _problem(self, number: int, what: str) -> UserError:
        names = (self._folder / f"{self._part}.names").read_text(encoding="utf-8", errors="surrogateescape")
        pack = self._folder / pack_name(self._part, int(self.index[number]["pack"]))
        return UserError(f"{pack}: image {names.split(chr(10))[number]} {what}; {self._remedy}")


class PackSource:
    """Batches of a packed data set; see `bnonly.data.batches.Batches`.

    Parameters
    ----------
    recipe : Recipe
        Data set, image size, augmentation.
    root : Path
        Folder of prepared data.
    device : torch.device
        Device of the batches.
    workers : int, optional
        Decoding threads.  The default on a CPU is the number of computing threads.  With a GPU, which they must keep
        busy, it is one per CPU that the process may use.

    Raises
    ------
    UserError
        If the data are absent or differ from their manifest.
    """

    def __init__(self, recipe: Recipe, root: Path, device: torch.device, workers: int = 0) -> None:
        manifest, folder = prepared.open_prepared(recipe.data, root)
        remedy = prepared.remedy(folder, recipe.dataset, root)
        self._train, self._test = (_Part(folder, part, manifest, remedy) for part in ("train", "test"))
        self.classes = manifest.classes
        self.train_images, self.test_images = len(self._train), len(self._test)
        self.checksum = manifest.checksum
        self.mean, self.std = manifest.statistics()
        self._how, self._device = recipe.augmentation, device
        self._side = recipe.input_size
        self.inputs = Inputs(manifest.class_names, manifest.mean, manifest.std, 0, self._side)
        self._normalise = Normaliser(self.mean, self.std, self._side, device)
        self._workers = workers or (torch.get_num_threads() if device.type == "cpu" else cpus())
        self._buffers = Buffers(keep=self._ahead(recipe.batch_size) + 4)
        self._sent: deque[torch.cuda.Event] = deque()
        # The work on one image is too small to divide among more threads.
        self._pool = ThreadPoolExecutor(self._workers, initializer=torch.set_num_threads, initargs=(1,))

    def train_batches(
        self, seed: int, epoch: int, batch_size: int, first: int = 0, share: Share = ALL
    ) -> Iterator[Batch]:
        """See `bnonly.data.batches.Batches.train_batches`."""
        return self._batches(self._train, self._drawn(seed, epoch, batch_size, first, share))

    def test_batches(self, batch_size: int, share: Share = ALL) -> Iterator[Batch]:
        """See `bnonly.data.batches.Batches.test_batches`."""
        starts = range(share[0] * batch_size, self.test_images, share[1] * batch_size)
        numbers = (np.arange(s, min(s + batch_size, self.test_images)) for s in starts)
        return self._batches(self._test, ((n, None, None) for n in numbers))

    def _drawn(self, seed: int, epoch: int, batch_size: int, first: int, share: Share) -> Iterator[_Views]:
        order = seeds.order(seed, epoch, self.train_images, torch.device("cpu"))[first * batch_size :]
        step = batch_size * max(1, DRAWN // batch_size)
        for images in order.split(step):
            numbers = images.numpy()
            rows = self._train.index[numbers]
            boxes = crops.random_boxes(seed, epoch, images, rows["height"], rows["width"]) if self._how.crop else None
            flips = crops.flips(seed, epoch, images) if self._how.flip else None
            for start in range(0, len(numbers), batch_size):
                part = part_of(start, min(start + batch_size, len(numbers)), share)
                yield numbers[part], None if boxes is None else boxes[part], None if flips is None else flips[part]

    def _batches(self, part: _Part, wanted: Iterator[_Views]) -> Iterator[Batch]:
        under_way: deque[tuple[torch.Tensor, torch.Tensor, list[Future[None]]]] = deque()
        try:
            for numbers, boxes, flips in wanted:
                under_way.append(self._start(part, numbers, boxes, flips))
                if len(under_way) > self._ahead(len(numbers)):
                    yield self._finish(*under_way.popleft())
            while under_way:
                yield self._finish(*under_way.popleft())
        finally:
            for _, _, futures in under_way:
                for future in futures:
                    future.cancel()

    def _ahead(self, batch_size: int) -> int:
        """Return the number of batches to prepare ahead: at least two, and enough to keep all threads busy."""
        return max(2, 2 * self._workers * SHARE // batch_size)

    def _start(
        self, part: _Part, numbers: np.ndarray, boxes: np.ndarray | None, flips: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor, list[Future[None]]]:
        images = self._buffer(len(numbers))

        def fill(start: int) -> None:
            for k in range(start, min(start + SHARE, len(numbers))):
                image = part.decode(int(numbers[k]))
                seen = central(image, self._side) if boxes is None else _cropped(image, boxes[k], self._side)
                pixels = (seen.flip(2) if flips is not None and flips[k] else seen).permute(1, 2, 0)
                if images.dtype == torch.uint8:
                    images[k] = pixels
                else:
                    self._normalise(pixels, images[k])

        futures = [self._pool.submit(fill, start) for start in range(0, len(numbers), SHARE)]
        labels = part.labels[torch.from_numpy(numbers)]
        # A transfer from unpinned memory may wait for all pending work of the GPU.
        return images, labels.pin_memory() if self._device.type == "cuda" else labels, futures

    def _buffer(self, images: int) -> torch.Tensor:
        """Return memory for a batch: bytes that a GPU normalises, or normalised floats on the CPU."""
        shape = (images, self._side, self._side, 3)
        if self._device.type != "cpu":
            return torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return self._buffers.take(shape)

    def _finish(self, images: torch.Tensor, labels: torch.Tensor, futures: list[Future[None]]) -> Batch:
        for future in futures:
            future.result()
        if images.dtype != torch.uint8:
            return images.permute(0, 3, 1, 2), labels
        images, labels = (t.to(self._device, non_blocking=True) for t in (images, labels))
        if self._device.type == "cuda":
            # Otherwise the host would run ahead of the GPU and need pinned memory for every batch in between.
            sent = torch.cuda.Event()
            sent.record()
            self._sent.append(sent)
            if len(self._sent) > SENT:
                self._sent.popleft().synchronize()
        return self._normalise(images).permute(0, 3, 1, 2), labels


#: Indices of a batch's images, their random crops if any, and the mask of mirrored images.
_Views = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def resized(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return an image, uint8 (3, height, width), at another size."""
    # A part of an image would be converted to planes and back, which takes as long as resizing.
    whole = image[None].contiguous(memory_format=torch.channels_last)
    return functional.interpolate(whole, size=(height, width), mode="bilinear", antialias=True)[0]


def _cropped(image: torch.Tensor, box: np.ndarray, side: int) -> torch.Tensor:
    top, left, height, width = box.tolist()
    return resized(image[:, top : top + height, left : left + width], side, side)


def central(image: torch.Tensor, side: int) -> torch.Tensor:
    """Return the test crop of an image, uint8 (3, height, width)."""
    height, width = crops.test_size(image.shape[1], image.shape[2], side)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return resized(image, height, width)[:, top : top + side, left : left + side]
