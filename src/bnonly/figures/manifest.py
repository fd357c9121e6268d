"""`figures/all`: every figure and table of a run, with checksums and the cells behind them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import outputs, staleness
from bnonly.grid.resolve import Grid
from bnonly.results import atomic


def times_redrawn() -> int:
    """Return how often the existing manifest was rewritten for a missing file; 0 without a manifest."""
    found = atomic.read_json(paths.MANIFEST).get("redrawn")
    return found if isinstance(found, int) else 0


def write_manifest(grid: Grid, redrawn: int) -> Path:
    """Write the manifest as JSON.

    Parameters
    ----------
    grid : Grid
        The resolved configuration.
    redrawn : int
        See `times_redrawn`.

    Raises
    ------
    UserError
        If a figure or table is missing, stale or damaged.
    """
    content = {"run": grid.title, "redrawn": redrawn, "outputs": _entries(grid)}
    atomic.replace(paths.MANIFEST, json.dumps(content, indent=1).encode() + b"\n")
    return paths.MANIFEST


def is_current(grid: Grid) -> bool:
    """Return whether the manifest exists and matches the files."""
    try:
        return bool(atomic.read_json(paths.MANIFEST).get("outputs") == _entries(grid))
    except UserError:
        return False


def _entries(grid: Grid) -> list[dict[str, Any]]:
    entries = []
    for name in outputs.wanted(grid):
        asked = outputs.ask(grid, name)
        if found := staleness.fault_of(asked):
            raise UserError(f"{name}: {found.text}; the same snakemake command draws it again")
        files = {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in outputs.files(name)}
        cells = {str(key.folder): digest for key, digest in asked.cells().items()}
        entries.append({"name": name, "sha256": files, "cells": cells})
    return entries
