"""Decide the claims on the run in the current folder."""

from __future__ import annotations

from pathlib import Path

from bnonly.figures import outputs
from bnonly.grid.resolve import Grid
from bnonly.paper import catalog
from bnonly.verdicts.decide import Judge
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import Decision


def judge(grid: Grid, source: Path | None = None, root: Path = Path(".")) -> tuple[Measurements, list[Decision]]:
    """Decide every claim from the results so far.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    source : Path, optional
        A claims file that replaces the paper's.
    root : Path
        The run's folder.

    Raises
    ------
    UserError
        If the claims file has a mistake, or results of different data or engines lie side by side.
    """
    claims = catalog.load(source or catalog.SOURCE, tuple(outputs.names()))
    measured = Measurements(grid, root)
    return measured, Judge(claims, grid, measured).decide_all()
