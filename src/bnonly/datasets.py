"""The data sets by name: what the grid, the figures and the checks need to know without opening them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set.

    Attributes
    ----------
    title : str
        What figures call it.
    paper : bool
        Whether the paper's numbers are about this very data set; every figure made from another one says so.
    train_images, test_images, classes, image_size : int
        As distributed; `image_size` is the side in pixels.
    """

    title: str
    paper: bool
    train_images: int
    test_images: int
    classes: int
    image_size: int


DATASETS: dict[str, DatasetInfo] = {
    "cifar10": DatasetInfo("CIFAR-10", True, 50_000, 10_000, 10, 32),
    "imagenet": DatasetInfo("ImageNet", True, 1_281_167, 50_000, 1000, 224),
    "digits": DatasetInfo("handwritten digits", False, 1_437, 360, 10, 8),
}
