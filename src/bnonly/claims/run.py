"""Decide the claims on the run in the current folder."""

from __future__ import annotations

from pathlib import Path

from bnonly.claims import catalog
from bnonly.claims.decide import Judge
from bnonly.claims.measure import Measurements
from bnonly.claims.verdicts import Decision
from bnonly.grid import Grid


def judge(grid: Grid, source: Path | None = None, root: Path = Path(".")) -> tuple[Measurements, list[Decision]]:
    """Decide every claim by the results that are there.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    source : Path, optional
        A claims file instead of the paper's.
    root : Path
        The run's folder.

    Raises
    ------
    UserError
        If the claims file has a mistake, or results of different data or engines lie side by side.
    """
    claims = catalog.load(source) if source else catalog.load()
    measured = Measurements(grid, root)
    return measured, Judge(claims, grid, measured).decide_all()
