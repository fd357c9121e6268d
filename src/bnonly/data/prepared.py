"""Prepared data on the disk: what a folder holds, and how it is opened.

``ROOT/NAME/manifest.json`` is written last and says what the other files are.  Opening compares every file's size with
it; the files of a set that fits in memory are also compared with their SHA-256, which costs 0.1 s, and every image of a
pack with its CRC-32 when it is read.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnonly.datasets import DATASETS
from bnonly.errors import UserError
from bnonly.schemas import atomic

#: Raised by hand whenever the prepared files change meaning.
FORMAT = 1
MANIFEST = "manifest.json"
#: The four files of a set that fits in memory: images uint8 (n, height, width, 3), labels int64 (n,).
ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
#: The environment's name for a fast disk of the machine at hand.
SCRATCH = "BNONLY_SCRATCH"


@dataclass(frozen=True)
class Manifest:
    """What a prepared data set is.

    Attributes
    ----------
    dataset : str
        Name in `bnonly.datasets.DATASETS`.
    class_names : list of str
        In the order of the labels.
    train_per_class, test_per_class : list of int
        Images of each class.
    mean, std : list of float
        Of the training set's channels, of pixels in [0, 1].
    files : dict of str to dict
        Size in bytes and SHA-256 of every file.
    source : dict
        What it was made from.
    stored : str
        How the images are stored, in words.
    left_out : list of str
        Images that could not be read and were left out, as was asked for.
    versions : dict of str to str
        Of the software that made it.
    format : int
        `FORMAT` of that software.
    """

    dataset: str
    class_names: list[str]
    train_per_class: list[int]
    test_per_class: list[int]
    mean: list[float]
    std: list[float]
    files: dict[str, dict[str, Any]]
    source: dict[str, Any]
    stored: str
    left_out: list[str]
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def checksum(self) -> str:
        """SHA-256 that identifies the data: of the names and checksums of all files."""
        lines = "".join(f"{self.files[name]['sha256']}  {name}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each channel of the training images, of pixels in [0, 1]."""
        return np.array(self.mean), np.array(self.std)


def describe(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, as a manifest has them."""
    with path.open("rb") as stream:
        return {"bytes": os.fstat(stream.fileno()).st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest, which makes the folder a prepared data set."""
    path = folder / MANIFEST
    with atomic(path) as stream:
        stream.write((json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True) + "\n").encode())
    return path


def open_prepared(name: str, root: Path) -> tuple[Manifest, Path]:
    """Find a prepared data set and check it against its manifest, without reading the images.

    Parameters
    ----------
    name : str
        Data set.
    root : Path
        Folder of prepared data.

    Returns
    -------
    manifest : Manifest
        What it is.
    folder : Path
        Where its files are: in `root`, or in the scratch folder that the environment names.

    Raises
    ------
    UserError
        If it is absent, not what its manifest says, or prepared by another version.
    """
    manifest = _read_manifest(name, root)
    folder = root / name
    scratch = os.environ.get(SCRATCH)
    return manifest, _staged(manifest, folder, Path(scratch)) if scratch else folder


def open_arrays(name: str, root: Path) -> tuple[dict[str, np.ndarray], Manifest]:
    """Read a set that fits in memory, checked against its checksums.

    Returns
    -------
    arrays : dict of str to array
        By the names in `ARRAYS`, without their suffix.
    manifest : Manifest
        What they are.

    Raises
    ------
    UserError
        As `open_prepared`; also if a checksum does not agree.
    """
    manifest, folder = open_prepared(name, root)
    arrays = {}
    for file in ARRAYS:
        try:
            arrays[file.removesuffix(".npy")] = array = np.load(folder / file)
        except (OSError, ValueError, EOFError) as problem:
            raise UserError(f"{folder / file}: damaged ({problem}); {_again(name, root)}") from None
        if hashlib.sha256(_header(array) + array.data).hexdigest() != manifest.files[file]["sha256"]:
            raise UserError(f"{folder / file}: is not the file that was prepared (SHA-256 differs); {_again(name, root)}")
    return arrays, manifest


def _header(array: np.ndarray) -> bytes:
    raise NotImplementedError


def is_prepared(name: str, root: Path) -> Manifest | None:
    """Return the manifest of a whole preparation, or None if there is none.

    Raises
    ------
    UserError
        If there is one that is not what its manifest says.
    """
    return _read_manifest(name, root) if (root / name / MANIFEST).exists() else None
