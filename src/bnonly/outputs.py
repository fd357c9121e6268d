"""Figures and tables under one roof: their names, needs, files and code (standard library and yaml only)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from bnonly import paths, store
from bnonly.datasets import DATASETS
from bnonly.discovery import digest_of
from bnonly.errors import UserError, accepted
from bnonly.figures import catalog as figures
from bnonly.figures import request
from bnonly.grid import Grid
from bnonly.tables import catalog as tables


def names() -> list[str]:
    """Return every figure and table, figures first."""
    return [*figures.names(), *tables.names()]


def _catalog(name: str) -> Any:
    if name in figures.names():
        return figures
    if name in tables.names():
        return tables
    padded = re.sub(r"^fig\w*?(\d)$", r"fig0\1", name)  # fig5, figure5: nearer to fig05 than spelling says
    raise UserError(f"no figure or table is called {name}; {accepted(padded, names())}")


def wanted(grid: Grid) -> list[str]:
    """Return the figures and tables of `figures/all`.

    They are those that the configuration lists; else all but the ones of whose experiments the grid has none, or has them
    on request only.

    Raises
    ------
    UserError
        If the configuration lists one that does not exist.
    """
    for name in grid.outputs:
        _catalog(name)
    return list(grid.outputs) or [n for n in names() if _has_an_experiment(grid, n)]


def _has_an_experiment(grid: Grid, name: str) -> bool:
    needs = _catalog(name).needs(name)
    # A reference for another experiment is there for that one's sake.
    about = [grid.experiments[n.experiment] for n in needs if n.experiment in grid.experiments and not n.among]
    return not needs or any(not experiment.on_request for experiment in about)


def ask(grid: Grid, name: str) -> dict[str, Any]:
    """Return the request of a figure or table (`bnonly.figures.request.request`), with the paper's values if they are wanted."""
    asked = request.request(grid, name, _catalog(name).needs(name))
    stated = _stated(asked) if grid.paper_values else []
    return {**asked, "stated": stated} if stated else asked


def _stated(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the paper states of a figure's points, where the data are the paper's."""
    # Here, because few runs want it and the claims take a while to read.
    from bnonly.claims import catalog

    experiments = catalog.load().experiments
    shown = {
        (panel["experiment"], architecture["name"], regime)
        for panel in asked["panels"]
        if panel["dataset"] == experiments[panel["experiment"]].dataset
        for architecture in panel["architectures"]
        for regime in panel["regimes"]
    }
    found = [s for s in catalog.stated(asked["name"]) if (s.experiment, s.architecture, s.regime) in shown]
    # Some values are stated several times; the first statement counts.
    return list({tuple(s.point.values()): {"claim": s.claim, **s.point} for s in reversed(found)}.values())[::-1]


def code_digest(name: str) -> str:
    """Return the SHA-256 of the code behind a figure or table."""
    return str(_catalog(name).code_digest(name))


def verdict_code(*packages: str) -> str:
    """Return the SHA-256 of the code and the data behind the verdicts ("claims") or the report ("claims", "report")."""
    return digest_of(*(Path(__file__).parent / package for package in packages))


def made_from(asked: dict[str, Any]) -> str:
    """Return a SHA-256 of all that a figure or table is made from: what it shows, and its code."""
    return hashlib.sha256(f"{request.canonical(asked)} {code_digest(asked['name'])}".encode()).hexdigest()


def files(name: str) -> list[str]:
    """Return the files of a figure or table."""
    if _catalog(name) is figures:
        return [str(paths.figure(name, suffix)) for suffix in paths.FIGURE_FORMATS]
    return [str(paths.table(name, suffix)) for suffix in paths.TABLE_FORMATS]


def inputs(asked: dict[str, Any]) -> list[Path]:
    """Return what a figure or table reads: its cells' files, and the counts if it is a table of architectures."""
    return request.files(asked) + ([paths.counts()] if asked["name"] in tables.COUNTED else [])


def architectures(grid: Grid) -> dict[str, Any]:
    """Return every architecture of the experiments with its number of classes, aliases under their own name too."""
    found: dict[str, Any] = {}
    for experiment in grid.experiments.values():
        for name in experiment.architectures:
            spec = grid.cell(name, experiment.regimes[0], experiment.seeds[0]).architecture
            found[name] = {
                "family": spec.family,
                "depth": spec.depth,
                "channels": spec.channels,
                "classes": DATASETS[experiment.dataset].classes,
            }
    return found


def render(asked: dict[str, Any]) -> list[Path]:
    """Draw a figure or write a table; return its files."""
    if asked["name"] in figures.names():
        from bnonly.figures.render import render as draw

        made = draw(asked)
    else:
        from bnonly.tables.render import render as tabulate

        made = tabulate(asked)
    store.replace(paths.drawn_from(asked["name"]), made_from(asked).encode())
    return made
