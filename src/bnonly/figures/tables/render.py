"""Make a table from its request, and write it as Markdown, LaTeX and CSV."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bnonly import paths
from bnonly.figures.catalog import COUNTED, TABLES
from bnonly.figures.needs import Request
from bnonly.figures.tables import counts, layout
from bnonly.figures.values import Results
from bnonly.results import atomic

_FORMATS = {"md": layout.markdown, "tex": layout.latex, "csv": layout.comma_separated}


def render(request: Request, counted: Path | None = None, root: Path = Path(".")) -> list[Path]:
    """Make a table and write its files.

    Parameters
    ----------
    request : Request
        The table's request.
    counted : Path, optional
        The parameter counts, relative to `root`; by default ``results/counts.csv``.  Read only if needed.
    root : Path
        The run's folder.

    Returns
    -------
    list of Path
        The Markdown, LaTeX and CSV file.

    Raises
    ------
    UserError
        If a result or the counts are missing, damaged or of another configuration, or a file cannot be written.
    """
    name = request.name
    data = Results(request, root)
    module = TABLES.module(name)
    table = module.build(data, counts.read(root / (counted or paths.counts())) if name in COUNTED else {})
    notes = [*table.notes]
    if request.remarks:
        notes.append(f"For comparison with the paper: {request.remarks}.")
    if request.differences:
        notes.append(f"Not the paper's table: {request.differences}.")
    table = dataclasses.replace(table, notes=tuple(notes), differences=request.differences)
    made = [root / paths.table(name, suffix) for suffix in paths.TABLE_FORMATS]
    for path, suffix in zip(made, paths.TABLE_FORMATS, strict=True):
        with atomic.writing(path) as stream:
            stream.write(_FORMATS[suffix](table).encode())
    return made
