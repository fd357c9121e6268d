"""The data sets by name: facts that the grid, the figures and the checks need without opening the data.

Your own data set, for example 100 classes of ImageNet, is one line of `DATASETS`.  ``bnonly prepare`` compares the data
with that line, and everything else follows from it.  docs/data.md explains each step.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set.

    Attributes
    ----------
    title : str
        Its name in figures.
    paper : bool
        Whether the paper's numbers are for this data set; a figure of any other data set says so.
    train_images, test_images, classes, image_size : int
        As distributed; `image_size` is the side in pixels.
    layout : str
        How it is distributed: "cifar" (the official archive, its folder, or Parquet of lossless images), "cifar-jpeg"
        (Parquet of JPEG images), "folder" (train/<class>/*.JPEG and val/<class>/*.JPEG, or ILSVRC2012's archives), or
        "installed" (inside a Python package: there is nothing to prepare).
    shrink : int
        For "folder": images whose shorter side is longer than this are shrunk to it and encoded again when prepared,
        so that decoding is faster; 0 keeps every image's bytes.  A crop of such an image has less detail, so the data
        set has its own name.
    """

    title: str
    paper: bool
    train_images: int
    test_images: int
    classes: int
    image_size: int
    layout: str
    shrink: int = 0


@dataclass(frozen=True)
class Inputs:
    """What a trained network needs in order to read an image and to name its answer.

    Attributes
    ----------
    class_names : list of str
        In the order of the outputs.
    mean, std : list of float
        Mean and standard deviation of the training set's channels, for pixels in [0, 1].
    stored : int
        Side in pixels of the images of a set that fits in memory; 0 for photographs, which have their own sizes.
    side : int
        Side in pixels of the network's input.
    """

    class_names: list[str]
    mean: list[float]
    std: list[float]
    stored: int
    side: int


DATASETS: dict[str, DatasetInfo] = {
    "cifar10": DatasetInfo("CIFAR-10", True, 50_000, 10_000, 10, 32, "cifar"),
    "cifar10-jpeg": DatasetInfo("CIFAR-10 (JPEG)", False, 50_000, 10_000, 10, 32, "cifar-jpeg"),
    "imagenet": DatasetInfo("ImageNet", True, 1_281_167, 50_000, 1000, 224, "folder"),
    "imagenet-256": DatasetInfo("ImageNet (shrunk to 256 px)", False, 1_281_167, 50_000, 1000, 224, "folder", 256),
    "imagenette10": DatasetInfo(
        "Imagenette (ImageNet photographs, 10 classes, 224 px)", False, 2_000, 500, 10, 224, "folder"
    ),
    "digits": DatasetInfo("handwritten digits", False, 1_437, 360, 10, 8, "installed"),
    "digits-few": DatasetInfo("28 handwritten digits", False, 16, 12, 10, 8, "installed"),
}
