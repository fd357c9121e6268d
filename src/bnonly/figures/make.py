"""Draw a figure or write a table, and record its sources."""

from __future__ import annotations

from pathlib import Path

from bnonly.figures import staleness
from bnonly.figures.catalog import TABLES
from bnonly.figures.needs import Request
from bnonly.figures.outputs import files


def make(asked: Request) -> list[Path]:
    """Draw a figure or write a table; return its files."""
    # Imported here, so that a table does not wait for matplotlib.
    if asked.name in TABLES.names():
        from bnonly.figures.tables.render import render as tabulate

        made = tabulate(asked)
    else:
        from bnonly.figures.render import render as draw

        made = draw(asked)
    staleness.record(asked.name, staleness.made_from(asked), files(asked.name))
    return made
