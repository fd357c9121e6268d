"""All figures and tables together: their names, needs, files and code (standard library and yaml only)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError, accepted
from bnonly.figures import needs
from bnonly.figures.catalog import BEYOND, COUNTED, FIGURES, TABLES, Catalog
from bnonly.figures.needs import Request
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid

if TYPE_CHECKING:
    from bnonly.paper.catalog import Stated


def names() -> list[str]:
    """Return the names of all figures and tables: the paper's figures, its tables, and figures beyond the paper."""
    return [*FIGURES.names(), *TABLES.names(), *BEYOND.names()]


def catalog_of(name: str) -> Catalog:
    """Return the catalog of a figure or table; raise `UserError` if there is none."""
    for catalog in (FIGURES, TABLES, BEYOND):
        if name in catalog.names():
            return catalog
    raise UserError(f"no figure or table is called {name}; {accepted(name, names())}")


def wanted(grid: Grid, lacking: Container[str] | None = None) -> list[str]:
    """Return the figures and tables of `figures/all`.

    They are those listed in the configuration.  Without a list, they are all except two kinds: those without an
    experiment in the grid (experiments on request do not count), and those of `left_out`, or of `lacking` if given.

    Raises
    ------
    UserError
        If the configuration lists an unknown one.
    """
    for name in grid.outputs:
        catalog_of(name)
    lacking = left_out(grid) if lacking is None else lacking
    return list(grid.outputs) or [n for n in _about(grid) if n not in lacking]


def left_out(grid: Grid) -> dict[str, str]:
    """Return the figures and tables for which the grid has experiments but lacks other needs, with the reason."""
    found = {}
    for name in _about(grid) if not grid.outputs else ():
        try:
            ask(grid, name)
        except UserError as problem:
            found[name] = str(problem)
    return found


def note(left_out: Iterable[str], command: str) -> str:
    """Return one line about the figures and tables of `left_out`, with the command that says why."""
    return f"left out of figures/all, because the grid lacks something that they need: {', '.join(left_out)} (to see why: {command})"


def _about(grid: Grid) -> list[str]:
    return [n for n in (*FIGURES.names(), *TABLES.names()) if _has_an_experiment(grid, n)]


def beyond() -> list[str]:
    """Return the figures of `figures/beyond`."""
    return BEYOND.names()


def _has_an_experiment(grid: Grid, name: str) -> bool:
    needs = catalog_of(name).needs(name)
    # A reference for another experiment does not count by itself.
    about = [grid.experiments[n.experiment] for n in needs if n.experiment in grid.experiments and not n.among]
    return not needs or any(not experiment.on_request for experiment in about)


def ask(grid: Grid, name: str) -> Request:
    """Return the request of a figure or table, with the paper's values if the configuration enables them."""
    asked = needs.request(grid, name, catalog_of(name).needs(name))
    return dataclasses.replace(asked, stated=_stated(asked)) if grid.paper_values else asked


def _stated(asked: Request) -> tuple[Stated, ...]:
    """Return the paper's values for a figure's points, if the data are the paper's."""
    # Imported here, because few runs use it and reading the claims takes a while.
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
    # The paper repeats some values; the first statement counts.
    return tuple({tuple(s.point.values()): s for s in reversed(found)}.values())[::-1]


def code(name: str) -> Path:
    """Return the file of a figure or table; the shared files are beside it."""
    return catalog_of(name).file(name)


def files(name: str) -> list[str]:
    """Return the files of a figure or table."""
    if catalog_of(name) is not TABLES:
        return [str(paths.figure(name, suffix)) for suffix in paths.FIGURE_FORMATS]
    return [str(paths.table(name, suffix)) for suffix in paths.TABLE_FORMATS]


def inputs(asked: Request) -> list[Path]:
    """Return the input files of a figure or table: its cells' files, and the counts for a table of architectures."""
    return asked.files() + ([paths.counts()] if asked.name in COUNTED else [])


def drawable(grid: Grid, lack: Callable[[Path], str]) -> tuple[list[str], dict[str, str]]:
    """Return the figures and tables that can be drawn, and for each other one the reason why not.

    Parameters
    ----------
    grid : Grid
        The grid.
    lack : callable
        Says of an input file that it is missing; returns "" if it is there.
    """
    good, bad = [], left_out(grid)
    for name in wanted(grid, bad):
        if lacking := next(filter(None, map(lack, inputs(ask(grid, name)))), ""):
            bad[name] = lacking
        else:
            good.append(name)
    return good, bad


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
                "classes": experiment.data.classes,
            }
    return found


def select(grid: Grid, targets: Sequence[str]) -> list[Key]:
    """Return the cells behind figures, tables and experiments, each once in the grid's order.

    Without targets, these are the cells of `figures/all`.

    Raises
    ------
    UserError
        If a target is unknown.
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
                    f"{target}: no such figure, table or experiment; {accepted(target, [*grid.experiments, *names()])}"
                )
    return [key for key in grid.cells if key in wanted]
