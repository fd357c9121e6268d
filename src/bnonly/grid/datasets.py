"""The data sets by name: facts that the grid, the figures and the checks need without opening the data.

Built-in data sets are in `DATASETS`.  The configuration describes others (``datasets:``, docs/data.md); their recipes
carry the description, so that a cell's specification is enough to train it on any machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnonly.config.layers import Layers
from bnonly.config.reader import NAME
from bnonly.errors import UserError

#: Keys of a data set's counts in the configuration.
COUNTS = ("classes", "train_images", "test_images")


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set.

    Attributes
    ----------
    name : str
        Its name in recipes, and its folder's.
    layout : str
        How it is distributed and trained on: "cifar" (the official archive, its folder, or Parquet of lossless images),
        "cifar-jpeg" (Parquet of JPEG images), "svhn" (MATLAB files or Parquet), "small-images" (class folders of
        images that are scaled when prepared), "photographs" (train/<class>/*.JPEG and val/<class>/*.JPEG, or
        ILSVRC2012's archives), or "installed" (inside a Python package: there is nothing to prepare).
    train_images, test_images, classes : int
        As distributed.
    image_size : int
        Side of the network's input in pixels, unless the recipe has another.
    shrink : int
        For "photographs": images whose shorter side is longer than this are shrunk to it and encoded again when
        prepared, so that decoding is faster; 0 keeps every image's bytes.  A crop of such an image has less detail, so
        the data set has its own name.
    title : str
        Its name in figures; not part of a cell's identity.
    paper : bool
        Whether the paper's numbers are for this data set; a figure of any other data set says so.
    """

    name: str
    layout: str
    train_images: int
    test_images: int
    classes: int
    image_size: int
    shrink: int = 0
    title: str = field(default="", compare=False, metadata={"omit": True})
    paper: bool = field(default=False, compare=False, metadata={"omit": True})

    @property
    def stored_size(self) -> int:
        """Side of the prepared images in pixels; 0 if each keeps its own size."""
        return 0 if self.streamed else self.image_size

    @property
    def streamed(self) -> bool:
        """Whether images are decoded and cropped while training; all others stay in memory."""
        return self.layout == "photographs"


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


_ALL = (
    DatasetInfo("cifar10", "cifar", 50_000, 10_000, 10, 32, title="CIFAR-10", paper=True),
    DatasetInfo("cifar10-jpeg", "cifar-jpeg", 50_000, 10_000, 10, 32, title="CIFAR-10 (JPEG)"),
    DatasetInfo("cifar100", "cifar", 50_000, 10_000, 100, 32, title="CIFAR-100"),
    DatasetInfo("svhn", "svhn", 73_257, 26_032, 10, 32, title="SVHN"),
    DatasetInfo("imagenet", "photographs", 1_281_167, 50_000, 1000, 224, title="ImageNet", paper=True),
    DatasetInfo(
        "imagenet-256", "photographs", 1_281_167, 50_000, 1000, 224, shrink=256, title="ImageNet (shrunk to 256 px)"
    ),
    DatasetInfo(
        "imagenette10", "photographs", 2_000, 500, 10, 224,
        title="Imagenette (ImageNet photographs, 10 classes, 224 px)",
    ),
    DatasetInfo("digits", "installed", 1_437, 360, 10, 8, title="handwritten digits"),
    DatasetInfo("digits-few", "installed", 16, 12, 10, 8, title="28 handwritten digits"),
)  # fmt: skip
#: Data sets that `bnonly prepare` can download.
DOWNLOADED = ("cifar10", "cifar100", "svhn")
#: Layouts of data sets that the configuration describes.
OWN_LAYOUTS = ("small-images", "photographs")
DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _ALL}


def with_counts(config: Mapping[str, Any], files: Layers, root: Path) -> dict[str, Any]:
    """Add to the configuration's data sets the counts of classes and images that ``bnonly prepare`` found.

    Parameters
    ----------
    config : mapping
        The configuration.
    files : Layers
        Its files, for messages.
    root : Path
        Folder of prepared data.

    Raises
    ------
    UserError
        If a recipe's data set has no counts because it is not prepared, or has others than the prepared data.
    """
    own = config.get("datasets")
    if not isinstance(own, Mapping):
        return dict(config)
    used = set(_used({k: v for k, v in config.items() if k != "datasets"}))
    filled = {}
    for name, given in own.items():
        filled[name] = given
        if not isinstance(given, Mapping) or not isinstance(name, str) or not re.fullmatch(NAME, name):
            continue  # the configuration's model refuses it
        found = _found(root / name / "manifest.json")
        for key in COUNTS:
            if found and given.get(key) not in (None, found[key]):
                raise UserError(
                    f"{files.of(('datasets', name, key))}: datasets.{name}.{key} must be {found[key]}, as in "
                    f"{root / name / 'manifest.json'} (got {given[key]})"
                )
        filled[name] = {**found, **{k: v for k, v in given.items() if v is not None or k not in found}}
        if name in used and name not in DATASETS and None in map(filled[name].get, COUNTS):
            file = files.of(("datasets", name))
            over = f" --configfile {file}" if Path(file).suffix in (".yaml", ".yml", ".json") else ""
            raise UserError(
                f"{file}: datasets.{name} is not prepared in {root}; run: bnonly{over} prepare {name} --from FOLDER --data {root}"
            )
    return {**config, "datasets": filled}


def _used(node: Any) -> Iterator[str]:
    """Yield every value of a key ``dataset``."""
    for key, value in node.items() if isinstance(node, Mapping) else ():
        yield from [value] if key == "dataset" and isinstance(value, str) else _used(value)


def _found(manifest: Path) -> dict[str, int]:
    """Return the counts of a manifest; none if it is absent or damaged, which opening the data reports."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        counts = len(content["class_names"]), sum(content["train_per_class"]), sum(content["test_per_class"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(zip(COUNTS, counts, strict=True))
