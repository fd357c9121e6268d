"""Figures and tables under one roof: their names, needs, files and code (standard library and yaml only)."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError, accepted
from bnonly.figures import needs
from bnonly.figures.catalog import COUNTED, FIGURES, METRICS, TABLES, Catalog, digest_of, sources
from bnonly.figures.needs import Request
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.results import atomic

if TYPE_CHECKING:
    from bnonly.paper.catalog import Stated


def names() -> list[str]:
    """Return every figure and table, figures first."""
    return [*FIGURES.names(), *TABLES.names()]


def _catalog(name: str) -> Catalog:
    if name in FIGURES.names():
        return FIGURES
    if name in TABLES.names():
        return TABLES
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


def ask(grid: Grid, name: str) -> Request:
    """Return what a figure or table shows, with the paper's values if they are wanted."""
    asked = needs.request(grid, name, _catalog(name).needs(name))
    return dataclasses.replace(asked, stated=_stated(asked)) if grid.paper_values else asked


def _stated(asked: Request) -> tuple[Stated, ...]:
    """Return what the paper states of a figure's points, where the data are the paper's."""
    # Here, because few runs want it and the claims take a while to read.
    from bnonly.paper import catalog

    claims = catalog.load(figures=tuple(names()))
    experiments = claims.experiments
    shown = {
        (panel.experiment, architecture.name, regime)
        for panel in asked.panels
        if panel.dataset == experiments[panel.experiment].dataset
        for architecture in panel.architectures
        for regime in panel.regimes
    }
    found = [s for s in catalog.stated(claims, asked.name) if (s.experiment, s.architecture, s.regime) in shown]
    # Some values are stated several times; the first statement counts.
    return tuple({tuple(s.point.values()): s for s in reversed(found)}.values())[::-1]


def code_digest(name: str) -> str:
    """Return the SHA-256 of the code behind a figure or table."""
    return str(_catalog(name).code_digest(name))


def verdict_code(*packages: str) -> str:
    """Return the SHA-256 of the code and the data of some rooms of the package: those behind the verdicts, or behind the report."""
    folders = [Path(__file__).parents[1] / package for package in packages]
    return digest_of([METRICS, *(path for folder in folders for path in sources(folder))])


def made_from(asked: Request) -> str:
    """Return a SHA-256 of all that a figure or table is made from: what it shows, and its code."""
    return hashlib.sha256(f"{asked.to_json()} {code_digest(asked.name)}".encode()).hexdigest()


def files(name: str) -> list[str]:
    """Return the files of a figure or table."""
    if _catalog(name) is FIGURES:
        return [str(paths.figure(name, suffix)) for suffix in paths.FIGURE_FORMATS]
    return [str(paths.table(name, suffix)) for suffix in paths.TABLE_FORMATS]


def inputs(asked: Request) -> list[Path]:
    """Return what a figure or table reads: its cells' files, and the counts if it is a table of architectures."""
    return asked.files() + ([paths.counts()] if asked.name in COUNTED else [])


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


def render(asked: Request) -> list[Path]:
    """Draw a figure or write a table; return its files."""
    if asked.name in FIGURES.names():
        from bnonly.figures.render import render as draw

        made = draw(asked)
    else:
        from bnonly.figures.tables.render import render as tabulate

        made = tabulate(asked)
    atomic.replace(paths.drawn_from(asked.name), made_from(asked).encode())
    return made


def select(grid: Grid, targets: Sequence[str]) -> list[Key]:
    """Return the cells behind figures, tables and experiments, each once in the grid's order; all of `figures/all` for
    none.

    Raises
    ------
    UserError
        If a target is not one of them.
    """
    if not targets:
        wanted = grid.on_default()
    else:
        wanted = set()
        for target in targets:
            if target in grid.experiments:
                wanted.update(grid.keys_of(grid.experiments[target]))
            elif target in names():
                wanted.update(ask(grid, target).cells())
            else:
                raise UserError(
                    f"{target}: no figure, table or experiment is called so; {accepted(target, [*grid.experiments, *names()])}"
                )
    return [key for key in grid.cells if key in wanted]
