"""CIFAR-10 as it is distributed: the official archive, its extracted folder, or Parquet files of encoded images."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from bnonly.console import Meter
from bnonly.data import parquet
from bnonly.data.archives import known
from bnonly.data.arrays import ImageArrays
from bnonly.data.decoding import read_rgb
from bnonly.data.unreadable import reason
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{i}" for i in range(1, 6)]
TEST = ["test_batch"]
SIDE = 32
#: First bytes of the formats in which Parquet files hold images.
MAGIC = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"BM": "BMP", b"RI": "WebP", b"GI": "GIF"}

Part = tuple[np.ndarray, np.ndarray]


def read(name: str, source: Path, unreadable: list[str], meter: Meter) -> tuple[ImageArrays, dict[str, Any], str]:
    """Read a data set in CIFAR-10's format from any of its layouts.

    Parameters
    ----------
    name : str
        Data set: "cifar10", or another in the same format.
    source : Path
        The archive, a folder with it, a folder with the batches, or a folder with Parquet files.
    unreadable : list of str
        Receives the images that cannot be read; they are left out.
    meter : Meter
        Shows the progress.

    Returns
    -------
    arrays : ImageArrays
        Images (n, 32, 32, 3).
    record : dict
        Description of the source, for the manifest.
    stored : str
        Format of the stored images, in words.

    Raises
    ------
    UserError
        If the source has no known layout or is invalid.
    """
    wants_jpeg = DATASETS[name].layout == "cifar-jpeg"
    found = parquet.find(source)
    if found:
        parts = [_read_parquet(files, wants_jpeg, name, unreadable, meter) for files in found.values()]
        record: dict[str, Any] = {"layout": "Parquet", "files": [f.name for files in found.values() for f in files]}
        stored = "uint8 pixels, decoded from JPEG" if wants_jpeg else "uint8 pixels"
    elif wants_jpeg:
        raise UserError(f"{source}: has no train*.parquet and test*.parquet; {name} can only be prepared from those")
    else:
        opener, layout = _batches(source)
        parts = [_read_batches(opener, source, files, meter) for files in (TRAIN, TEST)]
        record, stored = {"layout": layout, "files": [*TRAIN, *TEST]}, "uint8 pixels"
    (train_images, train_labels), (test_images, test_labels) = parts
    return ImageArrays(train_images, train_labels, test_images, test_labels, len(CLASS_NAMES)), record, stored


def _batches(source: Path) -> tuple[Callable[[str], IO[bytes]], str]:
    """Find the official batches; return a function that opens one by name, and the layout."""
    for archive in (source, source / ARCHIVE):
        if archive.is_file():
            return _Archive(archive).open, "official archive"
    for folder in (source, source / FOLDER):
        if any((folder / batch).exists() for batch in TRAIN + TEST):
            return partial(_open, folder), FOLDER
    raise UserError(
        f"{source}: {'is empty' if source.is_dir() and not any(source.iterdir()) else 'not a known layout of CIFAR-10'}"
        f"; it must have {ARCHIVE}, a folder {FOLDER}, or Parquet files train*.parquet and test*.parquet"
    )


def _open(folder: Path, batch: str) -> IO[bytes]:
    return (folder / batch).open("rb")


class _Archive:
    """The official archive; its MD5 is checked before any member is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        wanted = known("cifar10", ARCHIVE).md5
        if found != wanted:
            raise UserError(f"{path}: truncated or not {ARCHIVE} (MD5 {found}, not {wanted}); fetch it again")
        self._tar = tarfile.open(path)

    def open(self, batch: str) -> IO[bytes]:
        member = self._tar.extractfile(f"{FOLDER}/{batch}")
        if member is None:
            raise FileNotFoundError(batch)
        return member


class _Unpickler(pickle.Unpickler):
    """An unpickler that rebuilds arrays and plain objects only and runs no other code."""

    ALLOWED = {"_reconstruct", "ndarray", "dtype", "scalar", "encode"}

    def find_class(self, module: str, name: str) -> Any:
        if name in self.ALLOWED and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _read_batches(opener: Callable[[str], IO[bytes]], source: Path, names: list[str], meter: Meter) -> Part:
    images, labels = [], []
    for name in names:
        where = f"{source}: batch {name}"
        try:
            with opener(name) as stream:
                content = stream.read()
        except (OSError, KeyError):
            raise UserError(f"{where} is missing; extract the archive again") from None
        if hashlib.md5(content).hexdigest() != known("cifar10", name).md5:
            raise UserError(f"{where} is damaged (its MD5 is not the official one); extract the archive again")
        try:
            batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
            pixels, numbers = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.int64)
            images.append(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        except (pickle.UnpicklingError, KeyError, TypeError, ValueError, OverflowError, EOFError) as problem:
            raise UserError(f"{where} is not a batch of CIFAR-10 ({problem}); extract the archive again") from None
        if len(numbers) != len(pixels):
            raise UserError(f"{where} has {len(pixels)} images and {len(numbers)} labels; extract the archive again")
        _check_labels(numbers.tolist(), where)
        labels.append(numbers)
        meter.add(len(numbers))
    return np.concatenate(images), np.concatenate(labels)


def _check_labels(labels: Sequence[int], where: str) -> None:
    wrong = [image for image, label in enumerate(labels) if not 0 <= label < len(CLASS_NAMES)]
    if wrong:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} of image {wrong[0]} is out of range 0 to {len(CLASS_NAMES) - 1} "
            f"({len(wrong)} such labels); fetch the file again"
        )


def _read_parquet(files: list[Path], wants_jpeg: bool, name: str, unreadable: list[str], meter: Meter) -> Part:
    images, labels = [], []
    for path in files:
        numbers = []
        for row, (content, label) in enumerate(parquet.rows(path)):
            if label is None or content is None:
                what = "label" if label is None else "image"
                raise UserError(f"{path}: row {row} has no {what}; fetch the file again")
            numbers.append(label)
            image = _decode(content, f"{path.name} row {row}", path, wants_jpeg, name, unreadable)
            if image is not None:
                images.append(image)
                labels.append(label)
            meter.add(1)
        _check_labels(numbers, str(path))
    if not images:
        why = f" ({unreadable[-1]})" if unreadable else ""
        raise UserError(f"{files[0]}: holds no images that can be read{why}; fetch the file again")
    return np.stack(images), np.array(labels, np.int64)


def _decode(
    content: bytes, what: str, path: Path, wants_jpeg: bool, name: str, unreadable: list[str]
) -> np.ndarray | None:
    kind = MAGIC.get(content[:2], "unknown")
    if kind != "unknown" and (kind == "JPEG") != wants_jpeg:
        if kind == "JPEG":
            raise UserError(f"{path}: holds JPEG images, which have lost detail; prepare them as cifar10-jpeg")
        raise UserError(f"{path}: holds {kind} images, and {name} is of JPEG images; prepare them as cifar10")
    try:
        pixels = np.asarray(read_rgb(content)[0])
    except Exception as problem:  # decoders raise many types on damaged bytes
        unreadable.append(f"{what} ({reason(problem)})")
        return None
    if pixels.shape != (SIDE, SIDE, 3):
        unreadable.append(f"{what} ({pixels.shape[1]} x {pixels.shape[0]} pixels, not {SIDE} x {SIDE})")
        return None
    return pixels
