"""Prepared data on disk: the manifest, and functions that open the data.

``ROOT/NAME/manifest.json`` is written last.  It lists the other files and has a digest of itself.  Opening
compares every file's size with it.  The files of a set that fits in memory are also checked by SHA-256, which
takes 0.1 s.  Every image of a pack is checked by CRC-32 when it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnonly.console import Meter
from bnonly.data import archives
from bnonly.data.unreadable import ASIDE
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS, DatasetInfo
from bnonly.results import atomic, lock

#: Increase this when the prepared files change meaning.
FORMAT = 2
MANIFEST = "manifest.json"
#: Key of the SHA-256 over the rest of the manifest.
DIGEST = "manifest_sha256"
#: Raw files of a set that fits in memory, with types: images (n, height, width, 3), labels (n,).
ARRAYS = {"train_images.u8": "u1", "train_labels.i64": "<i8", "test_images.u8": "u1", "test_labels.i64": "<i8"}
#: Environment variable: folder on a fast local disk.
SCRATCH = "BNONLY_SCRATCH"


@dataclass(frozen=True)
class Manifest:
    """The manifest of a prepared data set.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    class_names : list of str
        In the order of the labels.
    image_size : int
        Side in pixels of the images of a set that fits in memory; 0 if they have their own sizes.
    train_per_class, test_per_class : list of int
        Images of each class.
    mean, std : list of float
        Mean and standard deviation of the training set's channels, for pixels in [0, 1].
    files : dict of str to dict
        Size in bytes and SHA-256 of every file.
    source : dict
        Description of the source.
    stored : str
        How the images are stored, in words.
    left_out : list of str
        Unreadable images that were left out on request, and files that are not images of the data set.
    versions : dict of str to str
        Versions of the software that wrote it.
    format : int
        `FORMAT` when it was written.
    """

    dataset: str
    class_names: list[str]
    image_size: int
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
        """SHA-256 over the names and checksums of all files; it identifies the data."""
        lines = "".join(f"{self.files[name]['sha256']}  {name}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each channel of the training images, for pixels in [0, 1]."""
        return np.array(self.mean), np.array(self.std)


def describe(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, as in a manifest."""
    with path.open("rb") as stream:
        return {"bytes": os.fstat(stream.fileno()).st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest; from then on the folder counts as prepared."""
    path = folder / MANIFEST
    content = dataclasses.asdict(manifest)
    with atomic.writing(path) as stream:
        stream.write((json.dumps({**content, DIGEST: _digest(content)}, indent=1, sort_keys=True) + "\n").encode())
    return path


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content.  It protects mean and std, which are in no other file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def open_prepared(info: DatasetInfo, root: Path) -> tuple[Manifest, Path]:
    """Find a prepared data set and check it against its manifest, without reading the images.

    Parameters
    ----------
    info : DatasetInfo
        Data set.
    root : Path
        Folder of prepared data.

    Returns
    -------
    manifest : Manifest
        Its manifest.
    folder : Path
        Folder of its files: in `root`, or in the scratch folder from the environment.

    Raises
    ------
    UserError
        If it is absent, differs from its manifest, or was prepared by another version.
    """
    manifest = _read_manifest(info, root)
    folder = root / info.name
    scratch = os.environ.get(SCRATCH)
    return manifest, _staged(manifest, folder, Path(scratch)) if scratch else folder


def open_arrays(info: DatasetInfo, root: Path) -> tuple[dict[str, np.ndarray], Manifest]:
    """Read a set that fits in memory and check its checksums.

    Returns
    -------
    arrays : dict of str to array
        By the names in `ARRAYS`, without their suffix.
    manifest : Manifest
        Their manifest.

    Raises
    ------
    UserError
        As `open_prepared`; also if a checksum does not match.
    """
    manifest, folder = open_prepared(info, root)
    arrays = {}
    for file, kind in ARRAYS.items():
        path = folder / file
        try:
            array = np.fromfile(path, kind)
        except OSError as problem:
            raise UserError(f"{path}: cannot be read: {problem.strerror or problem}") from None
        if hashlib.sha256(array.data).hexdigest() != manifest.files[file]["sha256"]:
            raise UserError(
                f"{path}: differs from the prepared file (SHA-256 mismatch); {remedy(folder, info.name, root)}"
            )
        if kind == "u1":
            array = array.reshape(-1, manifest.image_size, manifest.image_size, 3)
        arrays[file.split(".")[0]] = array
    return arrays, manifest


def is_prepared(info: DatasetInfo, root: Path) -> Manifest | None:
    """Return the manifest of a complete preparation; None if there is none.

    Raises
    ------
    UserError
        If the files differ from the manifest.
    """
    return _read_manifest(info, root) if (root / info.name / MANIFEST).exists() else None


def remedy(folder: Path, name: str, root: Path) -> str:
    """Return the remedy for a folder, original or scratch copy, whose files have changed."""
    if folder != root / name:
        return f"delete {folder}; it will be copied again"
    return f"delete {folder} and run: {_command(name, root)}"


def _command(name: str, root: Path) -> str:
    source = "" if archives.downloads(name) else " --from PATH"
    options = "" if name in DATASETS else ", with the --profile or --configfile of this run"
    return f"bnonly prepare {name}{source} --data {shlex.quote(str(root))}{options}"


def _read_manifest(info: DatasetInfo, root: Path) -> Manifest:
    name = info.name
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder for prepared data; give it with --data or BNONLY_DATA, or make it: {_command(name, root)}"
        )
    folder, path = root / name, root / name / MANIFEST
    again = remedy(folder, info.name, root)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: {name} is not prepared there; run: {_command(name, root)}") from None
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except ValueError:
        raise UserError(f"{path}: damaged (not JSON); {again}") from None
    made = content.get("format") if isinstance(content, dict) else None
    if made != FORMAT:
        raise UserError(
            f"{path}: was prepared by another version of bnonly (format {made}, this one reads {FORMAT}); {again}"
        )
    if content.pop(DIGEST, None) != _digest(content):
        raise UserError(f"{path}: was changed after it was written (SHA-256 mismatch); {again}")
    manifest = Manifest(**content)
    if manifest.dataset != name:
        raise UserError(f"{path}: is the manifest of {manifest.dataset}, not of {name}; {again}")
    check_counts(manifest, info, str(path), again)
    mine, theirs = (f"images of {s} pixels" if s else "photographs" for s in (info.stored_size, manifest.image_size))
    if mine != theirs:
        raise UserError(f"{path}: {name} was prepared as {theirs}, the configuration has {mine}; {again}")
    _check_sizes(manifest, folder, again)
    return manifest


def check_counts(manifest: Manifest, info: DatasetInfo, where: str, remedy: str) -> None:
    """Compare a manifest's classes and images with those of the data set, where its description has counts.

    Raises
    ------
    UserError
        With `where`, the difference and the remedy.
    """
    counts = {
        "classes": (manifest.classes, info.classes),
        "training images": (sum(manifest.train_per_class), info.train_images),
        "test images": (sum(manifest.test_per_class), info.test_images),
    }
    counts = {what: (found, wanted) for what, (found, wanted) in counts.items() if wanted}
    for part, numbers in (("training", manifest.train_per_class), ("test", manifest.test_per_class)):
        if 0 in numbers:
            bare = manifest.class_names[numbers.index(0)]
            raise UserError(f"{where}: class {bare} has no {part} images; {remedy}")
    missing = sum(wanted - found for what, (found, wanted) in counts.items() if what != "classes")
    unreadable = sum(not text.endswith(ASIDE) for text in manifest.left_out)
    for what, (found, wanted) in counts.items():
        # Images left out on request may be missing.
        if found > wanted or (found < wanted and (what == "classes" or missing != unreadable)):
            raise UserError(f"{where}: {found:,} {what}, {manifest.dataset} has {wanted:,}; {remedy}")


def _check_sizes(manifest: Manifest, folder: Path, remedy: str) -> None:
    for name, file in manifest.files.items():
        try:
            found = (folder / name).stat().st_size
        except OSError as problem:
            raise UserError(f"{folder / name}: cannot be read: {problem.strerror}; {remedy}") from None
        if found != file["bytes"]:
            raise UserError(f"{folder / name}: has {found:,} bytes, its manifest says {file['bytes']:,}; {remedy}")


def check_space(folder: Path, needed: int) -> None:
    """Stop before writing if the disk has too little space.

    Raises
    ------
    UserError
        With the folder, the bytes needed and the bytes free.
    """
    there = next(f for f in (folder, *folder.parents) if f.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"{folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free; free some space, "
            "or name another folder"
        )


def _staged(manifest: Manifest, folder: Path, scratch: Path) -> Path:
    """Return the copy of the prepared files on a fast disk; the first process makes it."""
    if not scratch.is_dir():
        raise UserError(f"{scratch}: no such folder; unset {SCRATCH}, or set it to a folder of this machine")
    target = scratch / f"bnonly-{manifest.dataset}-{manifest.checksum[:16]}"
    if target.is_dir():
        _check_sizes(manifest, target, remedy(target, folder.name, folder.parent))
        return target
    with lock.hold(scratch / f".{target.name}", str(target), wait=True, doing="copies"):
        if target.is_dir():
            return target
        total = sum(f["bytes"] for f in manifest.files.values())
        check_space(scratch, total)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            with Meter(f"copying {folder} to {scratch}", total, "bytes") as meter:
                for name, file in manifest.files.items():
                    shutil.copyfile(folder / name, partial / name)
                    if describe(partial / name) != file:
                        again = remedy(folder, folder.name, folder.parent)
                        raise UserError(f"{folder / name}: differs from the prepared file; {again}")
                    meter.add(file["bytes"])
            partial.rename(target)
        except OSError as problem:
            if Path(str(problem.filename)).parent == folder and problem.filename2 is None:
                raise UserError(f"{problem.filename}: cannot be read: {problem.strerror}") from None
            raise UserError(
                f"{scratch}: cannot be written: {problem.strerror or problem}; unset {SCRATCH} to read from {folder}"
            ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target
