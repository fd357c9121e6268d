"""CIFAR-10, CIFAR-100 and SVHN as they are distributed: official archives or files, or Parquet files of encoded images."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from bnonly.console import Meter
from bnonly.data import parquet
from bnonly.data.archives import known
from bnonly.data.arrays import Decoded, ImageArrays
from bnonly.data.decoding import read_rgb
from bnonly.data.unreadable import reason
from bnonly.errors import UserError
from bnonly.grid.datasets import DatasetInfo

SIDE = 32
#: First bytes of the formats in which Parquet files hold images.
MAGIC = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"BM": "BMP", b"RI": "WebP", b"GI": "GIF"}

Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Official:
    """The official files of a data set: pickled batches in a folder or an archive of it, or MATLAB files.

    Attributes
    ----------
    name, title : str
        Name in the table of archives; name in messages.
    class_names : list of str
        In the order of the labels.
    train, test : list of str
        Files of the training and of the test images.
    labels : bytes
        Key of the labels in a batch; empty for MATLAB files.
    archive, folder : str
        The archive, and the folder in it; empty for MATLAB files.
    """

    name: str
    title: str
    class_names: list[str]
    train: list[str]
    test: list[str]
    labels: bytes = b""
    archive: str = ""
    folder: str = ""

    @property
    def accepted(self) -> str:
        """The accepted layouts, for messages."""
        files = f"{self.archive}, a folder {self.folder}" if self.archive else " and ".join([*self.train, *self.test])
        return f"{files}, or Parquet files train*.parquet and test*.parquet"


CIFAR10 = Official(
    "cifar10",
    "CIFAR-10",
    "airplane automobile bird cat deer dog frog horse ship truck".split(),
    [f"data_batch_{i}" for i in range(1, 6)],
    ["test_batch"],
    b"labels",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
)
CIFAR100 = Official(
    "cifar100",
    "CIFAR-100",
    (
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
        "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
        "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
        "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
        "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
        "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
        "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
    ).split(),
    ["train"],
    ["test"],
    b"fine_labels",
    "cifar-100-python.tar.gz",
    "cifar-100-python",
)
SVHN = Official("svhn", "SVHN", list("0123456789"), ["train_32x32.mat"], ["test_32x32.mat"])
OFFICIAL = {"cifar10": CIFAR10, "cifar10-jpeg": CIFAR10, "cifar100": CIFAR100, "svhn": SVHN}


def read(info: DatasetInfo, source: Path, quiet: bool = False) -> Decoded:
    """Read a data set from any of its layouts.

    Parameters
    ----------
    info : DatasetInfo
        Data set: a key of `OFFICIAL`.
    source : Path
        The archive, a folder with it, a folder with the official files, or a folder with Parquet files.
    quiet : bool
        Print no progress.

    Returns
    -------
    Decoded
        Images (n, 32, 32, 3).

    Raises
    ------
    UserError
        If the source has no known layout or is invalid.
    """
    wants_jpeg, official = info.layout == "cifar-jpeg", OFFICIAL[info.name]
    unreadable: list[str] = []
    with Meter(f"preparing {info.name}", info.train_images + info.test_images, quiet=quiet) as meter:
        found = parquet.find(source)
        if found:
            parts = [_read_parquet(files, info, unreadable, meter) for files in found.values()]
            record: dict[str, Any] = {"layout": "Parquet", "files": [f.name for files in found.values() for f in files]}
            stored = "uint8 pixels, decoded from JPEG" if wants_jpeg else "uint8 pixels"
        elif wants_jpeg:
            raise UserError(
                f"{source}: has no train*.parquet and test*.parquet; {info.name} can only be prepared from those"
            )
        else:
            opener, layout = _files(official, source)
            parts = [_read_files(opener, source, files, official, meter) for files in (official.train, official.test)]
            record, stored = {"layout": layout, "files": [*official.train, *official.test]}, "uint8 pixels"
    (train_images, train_labels), (test_images, test_labels) = parts
    arrays = ImageArrays(train_images, train_labels, test_images, test_labels, len(official.class_names))
    return Decoded(arrays, official.class_names, record, stored, unreadable)


def _files(official: Official, source: Path) -> tuple[Callable[[str], IO[bytes]], str]:
    """Find the official files; return a function that opens one by name, and the layout."""
    for archive in (source, source / official.archive) if official.archive else ():
        if archive.is_file():
            return _Archive(archive, official).open, "official archive"
    for folder in (source, source / official.folder):
        if any((folder / name).exists() for name in official.train + official.test):
            return partial(_open, folder), official.folder or "official files"
    raise UserError(
        f"{source}: {'is empty' if source.is_dir() and not any(source.iterdir()) else f'not a known layout of {official.title}'}"
        f"; it must have {official.accepted}"
    )


def _open(folder: Path, name: str) -> IO[bytes]:
    return (folder / name).open("rb")


class _Archive:
    """The official archive; its MD5 is checked before any member is read."""

    def __init__(self, path: Path, official: Official) -> None:
        self._folder = official.folder
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        wanted = known(official.name, official.archive).md5
        if found != wanted:
            raise UserError(f"{path}: truncated or not {official.archive} (MD5 {found}, not {wanted}); fetch it again")
        self._tar = tarfile.open(path)

    def open(self, name: str) -> IO[bytes]:
        member = self._tar.extractfile(f"{self._folder}/{name}")
        if member is None:
            raise FileNotFoundError(name)
        return member


class _Unpickler(pickle.Unpickler):
    """An unpickler that rebuilds arrays and plain objects only and runs no other code."""

    ALLOWED = {"_reconstruct", "ndarray", "dtype", "scalar", "encode"}

    def find_class(self, module: str, name: str) -> Any:
        if name in self.ALLOWED and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _read_files(
    opener: Callable[[str], IO[bytes]], source: Path, names: list[str], official: Official, meter: Meter
) -> Part:
    images, labels = [], []
    again = "extract the archive again" if official.archive else "fetch it again"
    for name in names:
        where = f"{source}: {'batch ' if official.archive else ''}{name}"
        try:
            with opener(name) as stream:
                content = stream.read()
        except (OSError, KeyError):
            raise UserError(f"{where} is missing; {again}") from None
        if hashlib.md5(content).hexdigest() != known(official.name, name).md5:
            raise UserError(f"{where} is damaged (its MD5 is not the official one); {again}")
        try:
            pixels, numbers = _unpickled(content, official.labels) if official.labels else _matlab(content)
        except (pickle.UnpicklingError, KeyError, TypeError, ValueError, OverflowError, EOFError) as problem:
            raise UserError(f"{where} is not a file of {official.title} ({problem}); {again}") from None
        if len(numbers) != len(pixels):
            raise UserError(f"{where} has {len(pixels)} images and {len(numbers)} labels; {again}")
        _check_labels(numbers.tolist(), len(official.class_names), where)
        images.append(pixels)
        labels.append(numbers)
        meter.add(len(numbers))
    return np.concatenate(images), np.concatenate(labels)


def _unpickled(content: bytes, labels: bytes) -> Part:
    batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    pixels = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, SIDE, SIDE)
    return pixels.transpose(0, 2, 3, 1), np.asarray(batch[labels], np.int64)


def _matlab(content: bytes) -> Part:
    """Read images (height, width, 3, n) and labels, in which 10 stands for the digit 0."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(io.BytesIO(content), variable_names=["X", "y"])
    except MatReadError as problem:
        raise ValueError(problem) from None
    pixels = np.asarray(found["X"], np.uint8).reshape(SIDE, SIDE, 3, -1)
    return pixels.transpose(3, 0, 1, 2), np.asarray(found["y"], np.int64).ravel() % 10


def _check_labels(labels: Sequence[int], classes: int, where: str) -> None:
    wrong = [image for image, label in enumerate(labels) if not 0 <= label < classes]
    if wrong:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} of image {wrong[0]} is out of range 0 to {classes - 1} "
            f"({len(wrong)} such labels); fetch the file again"
        )


def _read_parquet(files: list[Path], info: DatasetInfo, unreadable: list[str], meter: Meter) -> Part:
    images, labels = [], []
    for path in files:
        numbers = []
        for row, (content, label) in enumerate(parquet.rows(path)):
            if label is None or content is None:
                what = "label" if label is None else "image"
                raise UserError(f"{path}: row {row} has no {what}; fetch the file again")
            numbers.append(label)
            image = _decode(content, f"{path.name} row {row}", path, info, unreadable)
            if image is not None:
                images.append(image)
                labels.append(label)
            meter.add(1)
        _check_labels(numbers, info.classes, str(path))
    if not images:
        why = f" ({unreadable[-1]})" if unreadable else ""
        raise UserError(f"{files[0]}: holds no images that can be read{why}; fetch the file again")
    return np.stack(images), np.array(labels, np.int64)


def _decode(content: bytes, what: str, path: Path, info: DatasetInfo, unreadable: list[str]) -> np.ndarray | None:
    kind, wants_jpeg = MAGIC.get(content[:2], "unknown"), info.layout == "cifar-jpeg"
    if kind != "unknown" and (kind == "JPEG") != wants_jpeg:
        if kind == "JPEG":
            remedy = "prepare them as cifar10-jpeg" if info.name == "cifar10" else "fetch files of PNG images"
            raise UserError(f"{path}: holds JPEG images, which have lost detail; {remedy}")
        raise UserError(f"{path}: holds {kind} images, but {info.name} needs JPEG images; prepare them as cifar10")
    try:
        pixels = np.asarray(read_rgb(content)[0])
    except Exception as problem:  # decoders raise many types on damaged bytes
        unreadable.append(f"{what} ({reason(problem)})")
        return None
    if pixels.shape != (SIDE, SIDE, 3):
        unreadable.append(f"{what} ({pixels.shape[1]} x {pixels.shape[0]} pixels, not {SIDE} x {SIDE})")
        return None
    return pixels
