"""Images in class folders, and ImageNet as it is distributed: file, offset and class of every image.

Four layouts become one list of images, and nothing needs extracting:

- a folder with train/<class>/*.JPEG and val/<class>/*.JPEG (or test/<class>/*.JPEG), or Tiny ImageNet's variant of it;
- an uncompressed tar of such a folder;
- the official archives of ILSVRC2012 with their development kit;
- Parquet files as Hugging Face publishes them.

Classes and images are sorted by name; Parquet files keep their own order.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bnonly.console import Meter
from bnonly.data import parquet
from bnonly.data.archives import known
from bnonly.errors import UserError
from bnonly.results import atomic

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp")
#: Folders that file systems, file servers and notebooks create; hidden folders are skipped too.
CLUTTER = ("@eaDir", "lost+found", "__MACOSX", "$RECYCLE.BIN", "System Volume Information")
#: Tiny ImageNet keeps a class's images in a folder of this name, and the classes of validation images in a file.
INNER, ANNOTATIONS = "images", "val_annotations.txt"
TRAIN_TAR, VAL_TAR, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


class Item(NamedTuple):
    """One image: the number of its class, its name, and its place in a file.

    `folder` is the folder of its part, for messages.  In a Parquet file `group` is its row group, `offset` its row in the
    group, and `size` the average size of a row.
    """

    label: int
    name: str
    path: str
    offset: int
    size: int
    folder: str
    group: int = -1


@dataclass(frozen=True)
class Plan:
    """All images of a data set as it is distributed; `layout` describes its files.

    `left_aside` lists files and folders that are not images of the data set.
    """

    layout: str
    class_names: list[str]
    train: list[Item]
    test: list[Item]
    left_aside: list[str] = field(default_factory=list)

    def aside(self) -> str:
        """Return a short list of the files left aside; "" if there are none."""
        named = self.left_aside[:3]
        more = f" and {len(self.left_aside) - 3:,} more" if len(self.left_aside) > 3 else ""
        return f"ignored: {', '.join(named)}{more}" if named else ""


#: Largest size of a file in the development kit; its largest has 2 MB.
DEVKIT_BYTES = 100_000_000

#: Folders of the parts; "test" counts where there is no "val", because ImageNet's has no labels.
FOLDERS = ("train", "val", "test")
#: part (one of `FOLDERS`), class, name, path, offset, size
_Entry = tuple[str, str, str, str, int, int]


def find_images(source: Path, notes: Path, quiet: bool = False) -> Plan:
    """List the images of a data set.

    Parameters
    ----------
    source : Path
        The folder, the tar, or the folder with the official archives.
    notes : Path
        Folder that caches the MD5 checks of the official archives, which take minutes.
    quiet : bool
        Print no progress.

    Raises
    ------
    UserError
        If the source has no known layout or is incomplete.
    """
    aside: list[str] = []
    if source.is_file():
        return _plan("tar of a folder", source, _in_tar(source, aside), aside)
    if (source / TRAIN_TAR).exists() or (source / VAL_TAR).exists():
        return _official(source, notes, quiet)
    if files := parquet.find(source):
        return _in_parquet(files)
    if not any((source / part).is_dir() for part in FOLDERS):
        empty = not any(source.iterdir())
        raise UserError(
            f"{source}: {'is empty' if empty else 'has no images in a known layout'}; it must have folders train/<class>/ "
            f"and val/<class>/ (or test/<class>/) with images, a tar of them, Parquet files train*.parquet and validation*.parquet, or "
            f"{TRAIN_TAR}, {VAL_TAR} and {DEVKIT}"
        )
    return _plan("folder", source, _in_folder(source, aside), aside)


def _plan(layout: str, source: Path, entries: Iterable[_Entry], aside: list[str]) -> Plan:
    parts: dict[str, dict[str, list[tuple[str, str, int, int]]]] = {part: {} for part in FOLDERS}
    for part, name, image, path, offset, size in entries:
        images = parts[part].setdefault(name, [])
        if image:
            images.append((image, path, offset, size))
    second = "val" if parts["val"] or not parts["test"] else "test"
    for part, classes in ((p, parts[p]) for p in ("train", second)):
        if not classes:
            raise UserError(f"{source}: has no {part}/<class>/ folders; both train and val (or test) are needed")
        empty = sorted(name for name, images in classes.items() if not images)
        if empty:
            why = next(
                (f"; {a} is not a {', '.join(SUFFIXES)} file" for a in aside if a.startswith(f"{part}/{empty[0]}/")), ""
            )
            raise UserError(
                f"{source}: {part}/{empty[0]} has no images ({len(empty)} such folders){why}; put its images there, or "
                "remove the folder"
            )
    for part, other in (("train", second), (second, "train")):
        missing = sorted(parts[other].keys() - parts[part].keys())
        if missing:
            raise UserError(
                f"{source}: {part}/{missing[0]} is missing, {other} has it ({len(missing)} such classes); "
                f"add it, or remove {other}/{missing[0]} if that is not a class"
            )
    names = sorted(parts["train"])
    train, test = (
        [
            Item(label, f"{name}/{image}", path, offset, size, part)
            for label, name in enumerate(names)
            for image, path, offset, size in sorted(parts[part][name])
        ]
        for part in ("train", second)
    )
    return Plan(layout, names, train, test, sorted(aside))


def _flat(source: Path, part: str) -> UserError:
    return UserError(
        f"{source}: {part} holds images without class folders; sort them into {part}/<class>/, or give the official "
        f"archives with {DEVKIT}, which has their classes"
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _is_class(name: str) -> bool:
    return not name.startswith(".") and name not in CLUTTER


def _in_folder(source: Path, aside: list[str]) -> Iterator[_Entry]:
    try:
        for part in FOLDERS:
            if not (source / part).is_dir() or (part == "test" and (source / "val").is_dir()):
                continue
            if (source / part / ANNOTATIONS).is_file():
                yield from _annotated(source, part)
                continue
            for folder in os.scandir(source / part):
                if not folder.is_dir():
                    if _is_image(folder.name):
                        raise _flat(source, part)
                    aside.append(f"{part}/{folder.name}")
                elif not _is_class(folder.name):
                    aside.append(f"{part}/{folder.name}/")
                else:
                    yield part, folder.name, "", "", 0, 0  # a class even if it has no images
                    inner = Path(folder.path, INNER)
                    for file in os.scandir(inner if inner.is_dir() else folder.path):
                        if _is_image(file.name) and file.is_file():
                            yield part, folder.name, file.name, file.path, 0, file.stat().st_size
                        else:
                            aside.append(f"{part}/{folder.name}/{file.name}")
    except OSError as problem:
        raise UserError(f"{problem.filename or source}: cannot be read: {problem.strerror}") from None


def _annotated(source: Path, part: str) -> Iterator[_Entry]:
    """Yield Tiny ImageNet's validation images; a file has the class as the second word of each line."""
    notes = source / part / ANNOTATIONS
    for number, line in enumerate(notes.read_text(errors="replace").splitlines(), 1):
        image, _, rest = line.partition("\t")
        path = source / part / INNER / image
        if not rest or not _is_class(rest.split("\t")[0]) or not path.is_file():
            raise UserError(f"{notes}: line {number} must name an image of {part}/{INNER} and its class")
        yield part, rest.split("\t")[0], image, str(path), 0, path.stat().st_size


def _in_tar(source: Path, aside: list[str]) -> Iterator[_Entry]:
    seen: dict[str, tarfile.TarInfo] = {}
    for member in _members(source):
        parts = Path(member.name).parts
        if member.isfile():
            seen[member.name] = member
        elif member.islnk():  # a hard link: tar stores the content only once
            if member.linkname not in seen:
                raise UserError(f"{source}: {member.name} is a link to {member.linkname}, which the tar does not have")
            member = seen[member.linkname]
        is_file = member.isfile()
        if is_file and len(parts) > 1 and parts[-2] in ("train", "val") and _is_image(parts[-1]):
            raise _flat(source, parts[-2])
        if len(parts) > 1 and parts[-2] in FOLDERS and member.isdir():
            if _is_class(parts[-1]):
                yield parts[-2], parts[-1], "", "", 0, 0
            else:
                aside.append("/".join(parts[-2:]) + "/")
        elif len(parts) > 2 and parts[-3] in FOLDERS and is_file:
            if _is_image(parts[-1]) and _is_class(parts[-2]):
                yield parts[-3], parts[-2], parts[-1], str(source), member.offset_data, member.size
            else:
                aside.append("/".join(parts[-3:]))


def _in_parquet(files: dict[str, list[Path]]) -> Plan:
    parts: dict[str, list[Item]] = {}
    classes: list[str] = []
    for part, paths in files.items():
        items = parts[part] = []
        for path in paths:
            labels, groups, columns = parquet.labels(path)
            if len(columns.classes) > len(classes):
                classes = columns.classes
            wrong = next((row for row, label in enumerate(labels) if label is None or label < 0), None)
            if wrong is not None:
                raise UserError(
                    f"{path}: row {wrong} must have a label of at least 0 (has {labels[wrong]}); fetch it again"
                )
            size = path.stat().st_size // max(1, len(labels))
            rows = ((group, row) for group, count in enumerate(groups) for row in range(count))
            for number, (label, (group, row)) in enumerate(zip(labels, rows, strict=True)):
                items.append(Item(int(label or 0), f"{path.name}/{number}", str(path), row, size, part, group))
        if not items:
            more = f" and {len(paths) - 1} more" if paths[1:] else ""
            raise UserError(f"{paths[0]}{more}: no images in the {part} part; fetch it again")
    most = 1 + max((i.label for items in parts.values() for i in items), default=-1)
    names = classes if len(classes) >= most else [f"{number:04d}" for number in range(most)]
    return Plan("Parquet", names, parts["train"], parts["test"])


def _members(path: Path, start: int = 0) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an uncompressed tar, or of a tar inside it at `start`; offsets are relative to the file."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                yield from tar
                # A damaged header ends the iteration just as the zeros at the end of a tar do.
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
    return _plan("official archives", source, _in_official(source, quiet), [])


def _check_md5(paths: list[Path], notes: Path, quiet: bool) -> None:
    noted = notes / "verified.json"
    marks = {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in paths}
    try:
        if json.loads(noted.read_text()) == marks:
            return
    except (OSError, ValueError):  # absent or damaged: check the archives again
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
        for outer in _members(path):  # one tar per class
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
                wanted = member.name.endswith(("data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"))
                if stream and wanted and member.size < DEVKIT_BYTES:
                    found[member.name.rsplit("/", 1)[1]] = stream.read()
        synsets = loadmat(io.BytesIO(found["meta.mat"]), squeeze_me=True)["synsets"]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        return [names[int(line)] for line in found["ILSVRC2012_validation_ground_truth.txt"].split()]
    except (KeyError, ValueError, tarfile.TarError, EOFError, OSError) as problem:
        raise UserError(
            f"{devkit}: not the development kit ({type(problem).__name__}: {problem}); fetch it again"
        ) from None
