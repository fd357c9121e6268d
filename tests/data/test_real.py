"""The real images in ../shared/data, where they are."""

import numpy as np
import torch
from tests.data import sets
from tests.data.sets import CPU

from bnonly.data import open_source
from bnonly.data.prepared import open_arrays
from bnonly.grid.datasets import DATASETS


def test_cifar10_jpeg_is_whole_and_has_cifar10_s_statistics(real):
    arrays, manifest = open_arrays(DATASETS["cifar10-jpeg"], real)
    assert arrays["train_images"].shape == (50_000, 32, 32, 3) and arrays["test_images"].shape == (10_000, 32, 32, 3)
    assert manifest.train_per_class == [5_000] * 10 and manifest.test_per_class == [1_000] * 10
    # JPEG moves CIFAR-10's own mean and deviation by less than a pixel value.
    np.testing.assert_allclose(manifest.mean, [0.4914, 0.4822, 0.4465], atol=1 / 255)
    np.testing.assert_allclose(manifest.std, [0.2470, 0.2435, 0.2616], atol=1 / 255)


def test_cifar10_jpeg_batches_are_normalised(real):
    source = open_source(sets.recipe("cifar10-jpeg"), real, CPU)
    total = torch.zeros(3, dtype=torch.float64)
    for images, labels in source.train_batches(0, 0, 1000):
        total += images.double().mean((0, 2, 3))
        assert 0 <= labels.min() and labels.max() <= 9
    assert total.abs().max() / 50 < 1e-4


def test_imagenette10_is_whole_and_its_photographs_are_photographs(real):
    source = open_source(sets.recipe("imagenette10", flip=True, crop=True), real, CPU)
    assert (source.classes, source.train_images, source.test_images) == (10, 2_000, 500)
    assert np.abs(source.mean - [0.485, 0.456, 0.406]).max() < 0.03, "ImageNet's own, nearly"
    images, labels = next(iter(source.train_batches(0, 0, 128)))
    assert images.shape == (128, 3, 224, 224)
    # Neighbouring pixels of a photograph are alike.
    assert (images[..., 1:] - images[..., :-1]).abs().mean() < 0.25 * images.std()
    counts = torch.zeros(10, dtype=torch.int64)
    for _, labels in source.test_batches(100):
        counts += torch.bincount(labels, minlength=10)
    assert counts.tolist() == [50] * 10
