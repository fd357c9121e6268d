"""Cache of finished results, keyed by the cell's digest (standard library only).

Snakemake deletes a job's outputs before the job runs and when it fails.  To save the training, the cache keeps a finished cell's files
a second time in ``results/.finished/DIGEST/``: as hard links, which take no space, or as copies where the file system has no links.
A cell that is needed again, because a setting was changed back or another cell failed, comes from the cache after a checksum test.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from bnonly import paths
from bnonly.errors import UserError
from bnonly.results import atomic

_SUMS = "sha256.json"


def holds(digest: str, names: Iterable[str] = tuple(paths.TRAINED.values())) -> bool:
    """Whether the cache has the files of a cell; only `restore` reads them."""
    return set(names) <= _sums(digest).keys()


def keep(digest: str, files: Iterable[Path]) -> None:
    """Put a cell's files into the cache.

    Raises
    ------
    UserError
        If they cannot be written; the cache is then unchanged.
    """
    home = paths.finished(digest)
    try:
        home.mkdir(parents=True, exist_ok=True)
        sums = _sums(digest)
        for file in files:
            _link(file, home / file.name)
            sums[file.name] = sha256(file)
        atomic.replace(home / _SUMS, json.dumps(sums, indent=1).encode())
    except OSError as problem:
        raise UserError(f"{paths.shown(home)}: cannot be written: {problem.strerror}") from None


def restore(digest: str, folder: Path, names: Collection[str] = tuple(paths.TRAINED.values())) -> bool:
    """Copy a cell's files from the cache into its folder; return whether they were there and intact.

    The file whose presence means "done" comes last, as in training.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    home, sums = paths.finished(digest), _sums(digest)
    if not set(names) <= sums.keys():
        return False
    try:
        for name in names:
            if sha256(home / name) != sums[name]:
                forget(digest)
                return False
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(home / name, folder / name)
            os.utime(folder / name)  # newer than its inputs
    except FileNotFoundError:
        forget(digest)
        return False
    except OSError as problem:
        raise UserError(f"{paths.shown(folder)}: cannot be written: {problem.strerror}") from None
    return True


def forget(digest: str) -> None:
    """Remove a cell from the cache; files in the cell's folder stay."""
    shutil.rmtree(paths.finished(digest), ignore_errors=True)


def digests() -> list[str]:
    """Return the digests in the cache; other files in the folder are not ours to name or remove."""
    home = paths.finished("")
    found = home.iterdir() if home.is_dir() else ()
    return sorted(p.name for p in found if re.fullmatch("[0-9a-f]{16}", p.name) and p.is_dir())


def size(digest: str) -> int:
    """Return the bytes that `forget` would free: those of files without another link."""
    stats = [p.stat() for p in paths.finished(digest).iterdir()]
    return sum(s.st_size for s in stats if s.st_nlink == 1)


def recorded_digest(path: Path) -> str | None:
    """Return the digest in one of a cell's Parquet files, read without pyarrow; None if there is none.

    The footer holds our metadata uncompressed, as JSON with sorted keys.  Its length stands before the last four bytes.
    """
    try:
        if not path.is_file():  # opening a FIFO would block
            return None
        with path.open("rb") as stream:
            stream.seek(-8, os.SEEK_END)
            length, magic = struct.unpack("<I4s", stream.read(8))
            if magic != b"PAR1":
                return None
            stream.seek(-8 - length, os.SEEK_END)
            footer = stream.read(length)
    except (OSError, struct.error):
        return None
    _, found, rest = footer.partition(b'"digest": "')
    return rest[:16].decode("ascii", "replace") if found else None


def on_other_data(dataset: str, one: tuple[Path, str], other: tuple[Path, str]) -> UserError:
    """Return the error for two results on different data of one name, each given by its file and its cell's digest.

    The remedy names the cached copies too, from which deleted results would come back.
    """
    (path, digest), (first, known) = one, other
    copies = " or ".join(paths.shown(paths.finished(d)) for d in (digest, known))
    return UserError(
        f"{paths.shown(path)}: was trained on other {dataset} data than {paths.shown(first)}; delete the one made with the old data "
        f"and its copy ({copies})"
    )


def _sums(digest: str) -> dict[str, str]:
    return atomic.read_json(paths.finished(digest) / _SUMS)


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _link(source: Path, target: Path) -> None:
    """Link (or copy) a file to a second name, replacing any file there."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES):
            raise
        try:
            shutil.copyfile(source, temporary)
        except OSError:  # a partial copy would keep a full disk full
            temporary.unlink(missing_ok=True)
            raise
    os.replace(temporary, target)
