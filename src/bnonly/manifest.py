"""`figures/all`: every figure and table of a run, with checksums and the cells behind them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bnonly import outputs, paths, schemas
from bnonly.errors import UserError
from bnonly.figures import request
from bnonly.grid import Grid


def write_manifest(grid: Grid) -> Path:
    """Write the manifest as JSON.

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
        cells = {str(paths.cell_dir(a, r, s)): digest for a, r, s, digest in request.cells(asked)}
        entries.append({"name": name, "sha256": files, "cells": cells})
    content = {"run": grid.title, "configuration": grid.source, "outputs": entries}
    with schemas.atomic(paths.MANIFEST) as stream:
        stream.write(json.dumps(content, indent=1).encode() + b"\n")
    return paths.MANIFEST
