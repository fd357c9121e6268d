"""Write files atomically, and read small files without trusting them (standard library only)."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bnonly import paths
from bnonly.errors import UserError

#: Largest size in bytes of a small file.
LARGEST = 64_000_000


@contextmanager
def writing(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for atomic writing: it appears under its name complete or not at all.

    The bytes go to a private temporary file in the same folder, which is then renamed.  The umask sets its permissions.

    Parameters
    ----------
    path : Path
        Its name.
    durable : bool
        Flush the bytes to the disk first, so that a power cut leaves the old file or the new one.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written; an older file of that name is left as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as problem:  # the error for a full disk names no file
        _remove(temporary)
        raise UserError(
            f"{paths.shown(path)}: cannot be written: {problem.strerror or problem}; nothing was changed"
        ) from None
    except BaseException:
        _remove(temporary)
        raise


def replace(path: Path, content: bytes) -> None:
    """Write a small file atomically, without waiting for the disk.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written; an older file of that name is left as it was.
    """
    with writing(path, durable=False) as stream:
        stream.write(content)


def _remove(name: str | None) -> None:
    if name:
        with suppress(OSError):
            os.unlink(name)


def _umask() -> int:
    """Return the umask without changing it, since another thread may be creating a file."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def read(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a small file.

    Raises
    ------
    OSError
        If it is absent, not a regular file (reading a FIFO would block) or larger than `largest` bytes.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
        return stream.read(min(largest, found.st_size + 1))  # read() allocates this much memory at once


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a small file; an empty one if the file is absent or holds anything else."""
    try:
        found = json.loads(read(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
