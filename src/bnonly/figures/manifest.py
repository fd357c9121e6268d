"""`figures/all`: every figure and table of a run, with checksums and the cells behind them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bnonly import paths
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.grid.resolve import Grid


def times_redrawn() -> int:
    """Return how often the manifest that is there was written again for something gone; 0 if there is none."""
    try:
        return int(json.loads(paths.MANIFEST.read_text())["redrawn"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


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
        If a figure or table is missing.
    """
    entries = []
    for name in outputs.wanted(grid):
        asked = outputs.ask(grid, name)
        files = {}
        for file in outputs.files(name):
            path = Path(file)
            if not path.exists():
                raise UserError(f"{path}: is missing; draw it with: snakemake {name}")
            files[file] = hashlib.sha256(path.read_bytes()).hexdigest()
        cells = {str(key.folder): digest for key, digest in asked.cells().items()}
        entries.append({"name": name, "sha256": files, "cells": cells})
    content = {"run": grid.title, "redrawn": redrawn, "outputs": entries}
    # Here, because the Snakefile imports this module and pyarrow takes a while.
    from bnonly.results import atomic

    with atomic.writing(paths.MANIFEST) as stream:
        stream.write(json.dumps(content, indent=1).encode() + b"\n")
    return paths.MANIFEST
