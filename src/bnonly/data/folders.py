"""ImageNet as it is distributed: where the bytes of every image are, and its class.

Three layouts become one list of images, each a range of bytes of some file, so that nothing has to be extracted: a
folder train/<class>/*.JPEG and val/<class>/*.JPEG, an uncompressed tar of such a folder, and the official archives of
ILSVRC2012 with their development kit.  Classes are in the order of their names, images in that of theirs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bnonly.console import Meter
from bnonly.data.archives import known
from bnonly.errors import UserError
from bnonly.results import atomic

SUFFIXES = (".jpeg", ".jpg", ".png")
TRAIN_TAR, VAL_TAR, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


class Item(NamedTuple):
    """One image: its class's number, its name, and the bytes of a file that hold it."""

    label: int
    name: str
    path: str
    offset: int
    size: int


@dataclass(frozen=True)
class Plan:
    """All images of a data set as it is distributed; `layout` says in which of the three ways."""

    layout: str
    class_names: list[str]
    train: list[Item]
    test: list[Item]


#: part ("train", "val"), class, name, path, offset, size
_Entry = tuple[str, str, str, str, int, int]


def find_images(source: Path, notes: Path, quiet: bool = False) -> Plan:
    """List the images of a data set.

    Parameters
    ----------
    source : Path
        The folder, the tar, or the folder with the official archives.
    notes : Path
        Folder where it is noted that the official archives have the right MD5, which takes minutes to find out.
    quiet : bool
        No progress.

    Raises
    ------
    UserError
        If the source is in no known layout, or something is missing in it.
    """
    if source.is_file():
        return _plan("tar of a folder", source, _in_tar(source))
    if (source / TRAIN_TAR).exists() or (source / VAL_TAR).exists():
        return _official(source, notes, quiet)
    if not (source / "train").is_dir() and not (source / "val").is_dir():
        empty = not any(source.iterdir())
        raise UserError(
            f"{source}: {'is empty' if empty else 'not a known layout of ImageNet'}; folders train/<class>/ and "
            f"val/<class>/ with images, a tar of them, or {TRAIN_TAR}, {VAL_TAR} and {DEVKIT} are wanted there"
        )
    return _plan("folder", source, _in_folder(source))


def _plan(layout: str, source: Path, entries: Iterable[_Entry]) -> Plan:
    parts: dict[str, dict[str, list[tuple[str, str, int, int]]]] = {"train": {}, "val": {}}
    for part, name, image, path, offset, size in entries:
        images = parts[part].setdefault(name, [])
        if image:
            images.append((image, path, offset, size))
    for part, classes in parts.items():
        if not classes:
            raise UserError(f"{source}: has no {part}/<class>/ folders; both train and val are needed")
        empty = sorted(name for name, images in classes.items() if not images)
        if empty:
            raise UserError(
                f"{source}: {part}/{empty[0]} has no images ({len(empty)} such folders); fetch them again, or remove it"
            )
    for part, other in (("train", "val"), ("val", "train")):
        missing = sorted(parts[other].keys() - parts[part].keys())
        if missing:
            raise UserError(
                f"{source}: {part}/{missing[0]} is missing, {other} has it ({len(missing)} such classes); "
                "fetch them again"
            )
    names = sorted(parts["train"])
    train, test = (
        [Item(label, f"{name}/{i[0]}", *i[1:]) for label, name in enumerate(names) for i in sorted(parts[part][name])]
        for part in ("train", "val")
    )
    return Plan(layout, names, train, test)


def _flat(source: Path, part: str) -> UserError:
    return UserError(
        f"{source}: {part} holds images without class folders; sort them into {part}/<class>/, or give the official "
        f"archives with {DEVKIT}, which has their classes"
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _in_folder(source: Path) -> Iterator[_Entry]:
    try:
        for part in ("train", "val"):
            if not (source / part).is_dir():
                continue
            for folder in os.scandir(source / part):
                if not folder.is_dir():
                    if _is_image(folder.name):
                        raise _flat(source, part)
                    continue
                yield part, folder.name, "", "", 0, 0  # a class even if it has no images
                for file in os.scandir(folder.path):
                    if _is_image(file.name):
                        yield part, folder.name, file.name, file.path, 0, file.stat().st_size
    except OSError as problem:
        raise UserError(f"{problem.filename or source}: cannot be read: {problem.strerror}") from None


def _in_tar(source: Path) -> Iterator[_Entry]:
    for member in _members(source):
        parts = Path(member.name).parts
        if member.isfile() and len(parts) > 1 and parts[-2] in ("train", "val") and _is_image(parts[-1]):
            raise _flat(source, parts[-2])
        if member.isdir() and len(parts) > 1 and parts[-2] in ("train", "val"):
            yield parts[-2], parts[-1], "", "", 0, 0
        if member.isfile() and len(parts) > 2 and parts[-3] in ("train", "val") and _is_image(parts[-1]):
            yield *parts[-3:], str(source), member.offset_data, member.size  # type: ignore[misc]


def _members(path: Path, start: int = 0) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an uncompressed tar, or of one that begins at `start` in it; all offsets are the file's."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                yield from tar
                # A header that is damaged ends the iteration as the zeros do that end a tar.
                stream.seek(tar.offset)
                if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"neither a file nor its end at byte {tar.offset:,}")
    except (tarfile.TarError, OSError, EOFError) as problem:
        with path.open("rb") as stream:
            compressed = stream.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
        if compressed:
            raise UserError(f"{path}: is compressed; decompress it first") from None
        raise UserError(f"{path}: truncated or not a tar ({problem}); fetch it again") from None


def _official(source: Path, notes: Path, quiet: bool) -> Plan:
    for name in (TRAIN_TAR, VAL_TAR, DEVKIT):
        if not (source / name).is_file():
            raise UserError(f"{source / name}: no such file; the three official archives are needed together")
    _check_md5([source / name for name in (TRAIN_TAR, VAL_TAR, DEVKIT)], notes, quiet)
    return _plan("official archives", source, _in_official(source, quiet))


def _check_md5(paths: list[Path], notes: Path, quiet: bool) -> None:
    noted = notes / "verified.json"
    marks = {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in paths}
    try:
        if json.loads(noted.read_text()) == marks:
            return
    except (OSError, ValueError):  # not there, or damaged: they are looked through again
        pass
    with Meter("checking MD5", sum(p.stat().st_size for p in paths), "bytes", quiet) as meter:
        for path in paths:
            total = hashlib.md5()
            with path.open("rb") as stream:
                while block := stream.read(1 << 22):
                    total.update(block)
                    meter.add(len(block))
            wanted = known("imagenet", path.name).md5
            if total.hexdigest() != wanted:
                raise UserError(
                    f"{path}: truncated or another file (MD5 {total.hexdigest()}, not {wanted}); fetch it again"
                )
    with atomic.writing(noted) as out:
        out.write(json.dumps(marks).encode())


def _in_official(source: Path, quiet: bool) -> Iterator[_Entry]:
    path = source / TRAIN_TAR
    with Meter("listing the images", path.stat().st_size, "bytes", quiet) as meter:
        for outer in _members(path):  # one tar a class
            name = outer.name.removesuffix(".tar")
            for member in _members(path, outer.offset_data):
                yield "train", name, member.name, str(path), member.offset_data, member.size
            meter.add(outer.size)
    images = sorted((m for m in _members(source / VAL_TAR) if m.isfile()), key=lambda m: m.name)
    classes = _truth(source / DEVKIT)
    if len(classes) != len(images):
        raise UserError(
            f"{source / VAL_TAR}: {len(images):,} images, {DEVKIT} has classes for {len(classes):,}; fetch both again"
        )
    for name, member in zip(classes, images, strict=True):
        yield "val", name, Path(member.name).name, str(source / VAL_TAR), member.offset_data, member.size


def _truth(devkit: Path) -> list[str]:
    """Return the class of every validation image, in the order of their names."""
    from scipy.io import loadmat

    found: dict[str, Any] = {}
    try:
        with tarfile.open(devkit) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream and member.name.endswith(("data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt")):
                    found[member.name.rsplit("/", 1)[1]] = stream.read()
        synsets = loadmat(io.BytesIO(found["meta.mat"]), squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        return [names[int(line)] for line in found["ILSVRC2012_validation_ground_truth.txt"].split()]
    except (KeyError, ValueError, tarfile.TarError, EOFError, OSError) as problem:
        raise UserError(
            f"{devkit}: not the development kit ({type(problem).__name__}: {problem}); fetch it again"
        ) from None
