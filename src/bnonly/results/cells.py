"""The trained cells in a run's folder, found and read without a configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, parse_cell
from bnonly.results import parquet

if TYPE_CHECKING:
    import pyarrow as pa


def find(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Return the metrics files of a run.

    Parameters
    ----------
    folder : Path
        A run's folder, or the ``results`` in it.
    only : sequence of str
        Patterns of cells, for example ``ResNet-14/*/seed0``; all cells if empty.

    Raises
    ------
    UserError
        If there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a run's folder or its results")
    results = folder / paths.RESULTS if (folder / paths.RESULTS).is_dir() else folder
    found = sorted(results.glob(f"*/*/seed*/{paths.TRAINED['metrics']}"))
    found = [p for p in found if not only or any(fnmatchcase("/".join(p.parts[-4:-1]), pattern) for pattern in only)]
    if not found:
        raise UserError(
            f"{folder}: has no {'such ' if only else ''}results (ARCHITECTURE/REGIME/seedN/metrics.parquet); train or import some"
        )
    return found


def read(path: Path) -> tuple[pa.Table, dict[str, Any], Cell]:
    """Read the metrics file of any cell.

    Returns
    -------
    table : pyarrow.Table
        At least one epoch.
    label : dict
        The file's metadata (`bnonly.results.parquet.read`).
    cell : Cell
        The cell that it says it belongs to, which is that of its folder.

    Raises
    ------
    UserError
        If it is damaged, empty, of another version or in another cell's folder.
    """
    table, label = parquet.read(path, "metrics")
    if not table.num_rows:
        raise UserError(f"{path}: has no epochs; train the cell again")
    try:
        cell = parse_cell(json.dumps(label.get("cell"), sort_keys=True, separators=(",", ":")))
    except UserError:
        raise UserError(f"{path}: was made by another version of bnonly; train the cell again") from None
    if str(cell) != "/".join(path.parts[-4:-1]):
        raise UserError(f"{path}: belongs to {cell}; move it to that cell's folder")
    return table, label, cell
