"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bnonly.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name whole or not at all.

    The bytes go to a private temporary file in the same folder, are flushed to the disk and renamed.

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
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as problem:
        _remove(temporary)
        raise UserError(f"{path}: cannot be written: {problem.strerror or problem}; nothing was changed") from None
    except BaseException:
        _remove(temporary)
        raise


def _remove(name: str | None) -> None:
    if name and os.path.exists(name):
        os.unlink(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def replace(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all.

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
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as problem:  # that of a full disk names no file
        raise UserError(f"{path}: cannot be written: {problem.strerror or problem}; nothing was changed") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
