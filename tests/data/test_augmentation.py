"""The batched augmentation of small images is the per-image definition, and a function of (seed, epoch, image)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data import sets
from tests.data.sets import CPU

from bnonly import seeds
from bnonly.data import open_source
from bnonly.data.arrays import ArraySource, ImageArrays
from bnonly.errors import UserError

HOW = [{"flip": True, "shift": 4}, {"flip": True}, {"shift": 2}, {}]


def source_of(**augmentation) -> ArraySource:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (45, 12, 12, 3), dtype=np.uint8)
    labels = np.arange(45) % 10
    return ArraySource(ImageArrays(images[:37], labels[:37], images[37:], labels[37:], 10), recipe(**augmentation), CPU)


def recipe(**augmentation):
    return sets.recipe("cifar10", **augmentation)


def defined(
    source: ArraySource, images: np.ndarray, number: int, seed: int, epoch: int, flip=False, shift=0
) -> torch.Tensor:
    """Appendix B.1, one image: flip, shift by up to four pixels with zeros brought in, normalise."""
    words = [int(w) for w in seeds.words(seed, "augment", epoch, torch.tensor([number]))]
    image = images[number]
    if flip and words[0] >= 2**31:
        image = image[:, ::-1]
    size = len(image)
    shifted = np.zeros_like(image)
    down, right = (shift - words[k] * (2 * shift + 1) // 2**32 for k in (1, 2))
    for row in range(size):
        for column in range(size):
            if 0 <= row - down < size and 0 <= column - right < size:
                shifted[row, column] = image[row - down, column - right]
    pixels = torch.from_numpy(shifted).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (source.mean, source.std))
    return (pixels - mean) / std


@pytest.mark.parametrize("how", HOW, ids=str)
def test_every_image_is_as_defined(how):
    source = source_of(**how)
    images = np.random.default_rng(1).integers(0, 256, (45, 12, 12, 3), dtype=np.uint8)
    order = seeds.order(3, 7, 37, CPU).tolist()
    got = list(source.train_batches(3, 7, 8))
    assert [len(x) for x, _ in got] == [8, 8, 8, 8, 5]
    for number, image, label in zip(order, torch.cat([x for x, _ in got]), torch.cat([y for _, y in got]), strict=True):
        assert torch.equal(image, defined(source, images, number, 3, 7, **how))
        assert label == number % 10


def test_torchvision_crops_and_flips_alike():
    from torchvision.transforms.v2 import functional

    source = source_of(flip=True, shift=4)
    images = np.random.default_rng(1).integers(0, 256, (45, 12, 12, 3), dtype=np.uint8)
    order = seeds.order(0, 0, 37, CPU)
    flip, down, right, _ = seeds.words(0, "augment", 0, order)
    (got, _), *_ = source.train_batches(0, 0, 37)
    mean, std = source.mean.tolist(), source.std.tolist()
    for k, number in enumerate(order):
        image = torch.from_numpy(images[number]).permute(2, 0, 1)
        image = functional.horizontal_flip(image) if flip[k] >= 2**31 else image
        top, left = (int(seeds.below(w[k], 9)) for w in (down, right))
        image = functional.crop(functional.pad(image, [4]), top, left, 12, 12)
        wanted = functional.normalize(functional.to_dtype(image, torch.float32, scale=True), mean, std)
        torch.testing.assert_close(got[k], wanted, rtol=0, atol=1e-6)


def test_neither_the_batch_size_nor_resuming_matters():
    source = source_of(flip=True, shift=4)
    whole = torch.cat([x for x, _ in source.train_batches(1, 2, 37)])
    assert torch.equal(whole, torch.cat([x for x, _ in source.train_batches(1, 2, 5)]))
    assert torch.equal(whole[15:], torch.cat([x for x, _ in source.train_batches(1, 2, 5, first=3)]))


def test_seeds_and_epochs_differ_and_every_image_is_seen_once():
    source = source_of(flip=True, shift=4)
    seen = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        (images, _), *_ = source.train_batches(seed, epoch, 37)
        seen[seed, epoch] = images
        assert sorted(seeds.order(seed, epoch, 37, CPU).tolist()) == list(range(37))
    assert not torch.equal(seen[0, 0], seen[0, 1]) and not torch.equal(seen[0, 0], seen[1, 0])


def test_all_shifts_and_both_directions_occur():
    flip, down, right, _ = seeds.words(0, "augment", 0, torch.arange(2000))
    assert {int(v) for v in seeds.below(down, 9)} == {int(v) for v in seeds.below(right, 9)} == set(range(9))
    assert 0.45 < float((flip >> 31).double().mean()) < 0.55


def test_images_are_channels_last_in_memory_in_training_and_testing():
    source = source_of(flip=True, shift=4)
    for batches in (source.train_batches(0, 0, 8), source.test_batches(8)):
        for images, _ in batches:
            assert images.is_contiguous(memory_format=torch.channels_last) and images.dtype == torch.float32


def test_testing_sees_every_image_as_it_is_in_order():
    source = source_of(flip=True, shift=4)
    images = np.random.default_rng(1).integers(0, 256, (45, 12, 12, 3), dtype=np.uint8)
    got = torch.cat([x for x, _ in source.test_batches(3)])
    for k, image in enumerate(got):
        assert torch.equal(image, defined(source, images, 37 + k, 0, 0))


def test_another_image_size_is_made_by_enlarging():
    source = source_of(image_size=24)
    (images, _), *_ = source.train_batches(0, 0, 4)
    assert images.shape == (4, 3, 24, 24)


def test_crops_of_small_images_are_refused():
    with pytest.raises(UserError, match="augmentation.crop must be false"):
        open_source(recipe(crop=True), Path(), CPU)


def test_memory_is_used_again_only_when_nothing_refers_to_it():
    source = source_of(flip=True, shift=4)
    kept = [x for x, _ in source.train_batches(0, 0, 8)]
    copies = [x.clone() for x in kept]
    part = kept.pop()[0]  # a view keeps its batch
    was = part.clone()
    list(source.train_batches(0, 1, 8))
    assert all(torch.equal(x, copy) for x, copy in zip(kept, copies, strict=False)) and torch.equal(part, was)
    places = {x.data_ptr() for _ in range(5) for x, _ in source.train_batches(0, 0, 37)}
    assert len(places) <= 2
