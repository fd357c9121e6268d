"""Checkpoints: atomic, readable only by their owner, bound to one configuration of the cell."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.results import atomic

#: The keys of a checkpoint.
KEYS = {"state", "rows", "iteration", "partial", "history", "data_sha256"}


def save(path: Path, cell: Cell, content: dict[str, Any]) -> None:
    """Write a checkpoint; the previous one stays until the new one is complete on the disk.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    # Serialise in memory: torch has its own error for a full disk, and the checksum needs the bytes.
    body = io.BytesIO()
    torch.save({"digest": cell.digest(), "cell": cell.canonical(), **content}, body)
    with atomic.writing(path) as stream:
        stream.write(hashlib.sha256(body.getbuffer()).digest())
        stream.write(body.getbuffer())
    os.chmod(path, 0o600)


def load(path: Path, cell: Cell) -> dict[str, Any] | None:
    """Read a cell's checkpoint; return None if there is none.

    Raises
    ------
    UserError
        If it is damaged or of another cell.
    """
    if not path.exists():
        return None
    where, remedy = paths.shown(path), "delete it to train the cell from the start"
    try:
        whole = atomic.read(path, largest=1 << 40)
    except OSError as problem:
        raise UserError(f"{where}: cannot be read: {problem.strerror}") from None
    checksum, body = whole[:32], whole[32:]
    if hashlib.sha256(body).digest() != checksum:
        raise UserError(f"{where}: damaged or half-written checkpoint; {remedy}")
    try:
        content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as problem:
        first = str(problem).strip().splitlines()[0][:120] if str(problem).strip() else type(problem).__name__
        raise UserError(f"{where}: damaged or half-written checkpoint ({first}); {remedy}") from None
    if not isinstance(content, dict) or content.get("digest") != cell.digest() or not content.keys() >= KEYS:
        raise UserError(f"{where}: not a checkpoint of {cell} in this configuration; {remedy}")
    return content
