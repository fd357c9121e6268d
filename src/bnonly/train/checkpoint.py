"""Checkpoints: atomic, readable by their owner only, bound to one configuration of the cell."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from bnonly import schemas
from bnonly.errors import UserError
from bnonly.spec import Cell


def save(path: Path, cell: Cell, content: dict[str, Any]) -> None:
    """Write a checkpoint; an older one stands until the new one is whole on the disk.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    with schemas.atomic(path) as stream:
        torch.save({"digest": cell.digest(), "cell": cell.canonical(), **content}, stream)
    os.chmod(path, 0o600)


def load(path: Path, cell: Cell) -> dict[str, Any] | None:
    """Read a cell's checkpoint; None if there is none.

    Raises
    ------
    UserError
        If it is damaged or another cell's.
    """
    if not path.exists():
        return None
    remedy = "delete it to train the cell from the start"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
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
        raise UserError(f"{path}: damaged or half-written checkpoint ({first}); {remedy}") from None
    if not isinstance(content, dict) or content.get("digest") != cell.digest():
        raise UserError(f"{path}: is not a checkpoint of {cell} in this configuration; {remedy}")
    return content
