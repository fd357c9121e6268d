"""Prepare data sets for training: verify, decode or pack the distributed files, and write a manifest."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np

from bnonly.data import archives, prepared
from bnonly.data.arrays import Decoded
from bnonly.data.prepared import Manifest
from bnonly.data.unreadable import DOWNLOAD, PARTIAL, cpus, left_out, refuse_unreadable, versions
from bnonly.errors import UserError, accepted
from bnonly.grid.datasets import DATASETS, DatasetInfo
from bnonly.results import atomic, lock

#: Environment variable: folder with the data sets as distributed, each under its name.
SOURCES = "BNONLY_SOURCES"


def prepare(
    name: str | DatasetInfo,
    source: Path | None,
    root: Path,
    skip_unreadable: bool = False,
    workers: int = 0,
    quiet: bool = False,
) -> str:
    """Prepare a data set, unless it is already prepared.

    Parameters
    ----------
    name : str or DatasetInfo
        A built-in data set's name, or the description of another.
    source : Path, optional
        The data set as it is distributed.  By default the entry of that name in BNONLY_SOURCES, or a
        download.
    root : Path
        Folder of prepared data; created if absent.
    skip_unreadable : bool
        Leave out images that cannot be read, and list them in the manifest, instead of stopping.
    workers : int
        Decoding threads; 0 starts one per CPU that the process may use.
    quiet : bool
        Print no progress.

    Returns
    -------
    str
        One line about the result.

    Raises
    ------
    UserError
        One line with the cause and the remedy; the data set then does not count as prepared.
    """
    if isinstance(name, str) and name not in DATASETS:
        raise UserError(f"data set {name} is not known; {accepted(name, DATASETS)}")
    info = DATASETS[name] if isinstance(name, str) else name
    name = info.name
    if info.layout == "installed":
        return f"{name}: is installed with scikit-learn; nothing to prepare"
    folder = root / name
    found = prepared.is_prepared(info, root)
    if found is None:  # otherwise write nothing, since the folder may be read-only
        with lock.hold(root / f".{name}", name, wait=True, doing="prepares"):
            found = prepared.is_prepared(info, root)  # another process may have finished meanwhile
            if found is None:
                _remove_temporary(folder)
                manifest = _prepare(info, source, folder, skip_unreadable, workers or cpus(), quiet)
                _remove_unfinished(folder)
                return (
                    f"{name}: {sum(manifest.train_per_class):,} training and {sum(manifest.test_per_class):,} test "
                    f"images of {manifest.classes} classes in {folder}"
                )
    _remove_unfinished(folder)
    files = found.source.get("files") or []
    old = f"{found.source['layout']} {', '.join(files[:2])}{', ...' if files[2:] else ''}".strip()
    ignored = f"; {source} was not read" if source else ""
    again = f"prepare it from {source}" if source else "prepare it again"
    return f"{name}: already prepared in {folder}, from {old}{ignored}; to {again}, delete {folder} and run the same command"


def _prepare(
    info: DatasetInfo, source: Path | None, folder: Path, skip_unreadable: bool, workers: int, quiet: bool
) -> Manifest:
    try:
        source = source or _find(info.name, folder)
        if not source.exists():
            raise UserError(f"{source}: no such file or folder; --from names the data set as it is distributed")
        if info.streamed:
            from bnonly.data.pack import prepare_photographs

            manifest = prepare_photographs(info, source, folder, skip_unreadable, workers, quiet)
        else:
            if info.layout == "small-images":
                from bnonly.data import small

                decoded = small.read(info, source, folder / PARTIAL, workers, quiet)
            else:
                from bnonly.data import cifar

                decoded = cifar.read(info, source, quiet)
            refuse_unreadable(decoded.unreadable, source, skip_unreadable)
            manifest = _write_arrays(info, source, folder, decoded)
        prepared.write_manifest(folder, manifest)
    except OSError as problem:
        raise UserError(f"{problem.filename or source}: {problem.strerror or problem}") from None
    return manifest


def _remove_temporary(folder: Path) -> None:
    """Remove the temporary files of a killed process; under the lock or beside a manifest nobody else writes."""
    for path in (*folder.glob(".*.tmp"), *folder.glob(f"{PARTIAL}/.*.tmp")):
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_unfinished(folder: Path) -> None:
    """Remove intermediate files after a complete preparation, including those of a killed process."""
    _remove_temporary(folder)
    for name in (PARTIAL, DOWNLOAD):
        shutil.rmtree(folder / name, ignore_errors=True)


def _find(name: str, folder: Path) -> Path:
    """Return the path of the distributed data set: in the folder of sources, or downloaded."""
    sources = os.environ.get(SOURCES)
    if sources:
        for candidate in (Path(sources) / name, Path(sources) / f"{name}.tar"):
            if candidate.exists():
                return candidate
    files = archives.downloads(name)
    if files:
        prepared.check_space(folder, 10**9)
        for archive in files:
            archives.download(archive, folder / DOWNLOAD)
        return folder / DOWNLOAD
    if name not in DATASETS:
        raise UserError(f"{name}: give its folder with --from PATH, or set {SOURCES} to a folder that has it as {name}")
    there = f"{sources} has no {name} and no {name}.tar, and it" if sources else "it"
    raise UserError(
        f"{name}: {there} cannot be fetched by a program; fetch it by hand and run: bnonly prepare {name} --from PATH, "
        f"or set {SOURCES} to a folder that has it under this name"
    )


def _write_arrays(info: DatasetInfo, source: Path, folder: Path, decoded: Decoded) -> Manifest:
    arrays = decoded.arrays
    mean, std = arrays.statistics()
    manifest = Manifest(
        dataset=info.name,
        class_names=decoded.class_names,
        image_size=info.image_size,
        train_per_class=np.bincount(arrays.train_labels, minlength=arrays.classes).tolist(),
        test_per_class=np.bincount(arrays.test_labels, minlength=arrays.classes).tolist(),
        mean=mean.tolist(),
        std=std.tolist(),
        files={},
        source=decoded.record,
        stored=decoded.stored,
        left_out=left_out(decoded.unreadable, decoded.left_aside),
        versions=versions(),
    )
    prepared.check_counts(manifest, info, str(source), "fetch it again")
    parts = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    prepared.check_space(folder, sum(part.nbytes for part in parts))
    try:
        for (file, kind), part in zip(prepared.ARRAYS.items(), parts, strict=True):
            with atomic.writing(folder / file) as stream:
                stream.write(np.ascontiguousarray(part, kind).data)
            manifest.files[file] = prepared.describe(folder / file)
    except UserError:
        for file in prepared.ARRAYS:
            (folder / file).unlink(missing_ok=True)
        raise
    return manifest
