"""Prepare data sets for training: verify, decode or pack the distributed files, and write a manifest."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np

from bnonly.console import Meter
from bnonly.data import archives, prepared
from bnonly.data.prepared import Manifest
from bnonly.data.unreadable import DOWNLOAD, PARTIAL, cpus, refuse_unreadable, versions
from bnonly.errors import UserError, accepted
from bnonly.grid.datasets import DATASETS
from bnonly.results import atomic, lock

#: Environment variable: folder with the data sets as distributed, each under its name.
SOURCES = "BNONLY_SOURCES"


def prepare(
    name: str, source: Path | None, root: Path, skip_unreadable: bool = False, workers: int = 0, quiet: bool = False
) -> str:
    """Prepare a data set, unless it is already prepared.

    Parameters
    ----------
    name : str
        A key of `bnonly.grid.datasets.DATASETS`.
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
    if name not in DATASETS:
        raise UserError(
            f"data set {name} is not known; {accepted(name, DATASETS)} (one of your own is a line of "
            "src/bnonly/grid/datasets.py)"
        )
    info = DATASETS[name]
    if info.layout == "installed":
        return f"{name}: is installed with scikit-learn; nothing to prepare"
    folder = root / name
    found = prepared.is_prepared(name, root)
    if found is None:  # otherwise write nothing, since the folder may be read-only
        with lock.hold(root / f".{name}", name, wait=True, doing="prepares"):
            found = prepared.is_prepared(name, root)  # another process may have finished meanwhile
            if found is None:
                _remove_temporary(folder)
                manifest = _prepare(name, source, folder, skip_unreadable, workers or cpus(), quiet)
                _remove_unfinished(folder)
                return (
                    f"{name}: {sum(manifest.train_per_class):,} training and {sum(manifest.test_per_class):,} test "
                    f"images of {manifest.classes} classes in {folder}"
                )
    _remove_unfinished(folder)
    return f"{name}: already prepared, from {found.source['layout']}; to prepare it again, delete {folder}"


def _prepare(
    name: str, source: Path | None, folder: Path, skip_unreadable: bool, workers: int, quiet: bool
) -> Manifest:
    try:
        source = source or _find(name, folder)
        if not source.exists():
            raise UserError(f"{source}: no such file or folder; --from names the data set as it is distributed")
        if DATASETS[name].layout == "folder":
            from bnonly.data.pack import prepare_folder

            manifest = prepare_folder(name, source, folder, skip_unreadable, workers, quiet)
        else:
            manifest = _prepare_arrays(name, source, folder, skip_unreadable, quiet)
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
    by_hand = archives.downloads(name)
    if by_hand:
        prepared.check_space(folder, 10**9)
        return archives.download(by_hand[0], folder / DOWNLOAD)
    there = f"{sources} has no {name} and no {name}.tar, and it" if sources else "it"
    raise UserError(
        f"{name}: {there} cannot be fetched by a program; fetch it by hand and run: bnonly prepare {name} --from PATH, "
        f"or set {SOURCES} to a folder that has it under this name"
    )


def _prepare_arrays(name: str, source: Path, folder: Path, skip_unreadable: bool, quiet: bool) -> Manifest:
    from bnonly.data import cifar

    info = DATASETS[name]
    unreadable: list[str] = []
    with Meter(f"preparing {name}", info.train_images + info.test_images, quiet=quiet) as meter:
        arrays, record, stored = cifar.read(name, source, unreadable, meter)
    refuse_unreadable(unreadable, source, skip_unreadable)
    mean, std = arrays.statistics()
    manifest = Manifest(
        dataset=name,
        class_names=cifar.CLASS_NAMES,
        image_size=cifar.SIDE,
        train_per_class=np.bincount(arrays.train_labels, minlength=arrays.classes).tolist(),
        test_per_class=np.bincount(arrays.test_labels, minlength=arrays.classes).tolist(),
        mean=mean.tolist(),
        std=std.tolist(),
        files={},
        source=record,
        stored=stored,
        left_out=unreadable,
        versions=versions(),
    )
    prepared.check_counts(manifest, str(source), "fetch it again")
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
