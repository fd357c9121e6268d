"""Figures and tables under one roof: their names, needs, files and code (standard library and yaml only)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError, accepted
from bnonly.figures import needs
from bnonly.figures.catalog import BEYOND, COUNTED, FIGURES, METRICS, TABLES, Catalog, digest_of, sources
from bnonly.figures.needs import Request
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Grid
from bnonly.results import atomic, cache

if TYPE_CHECKING:
    from bnonly.paper.catalog import Stated


def names() -> list[str]:
    """Return every figure and table: the paper's figures, its tables, and what goes beyond it."""
    return [*FIGURES.names(), *TABLES.names(), *BEYOND.names()]


def _catalog(name: str) -> Catalog:
    if name in FIGURES.names():
        return FIGURES
    for catalog in (TABLES, BEYOND):
        if name in catalog.names():
            return catalog
    raise UserError(f"no figure or table is called {name}; {accepted(respelt(name), names())}")


def respelt(name: str) -> str:
    """Return fig05 for fig5 and figure5, which are nearer to it than their spelling says."""
    return re.sub(r"^fig\D*0*(\d{1,2})$", lambda match: f"fig{int(match[1]):02}", name)


def wanted(grid: Grid, lacking: Container[str] | None = None) -> list[str]:
    """Return the figures and tables of `figures/all`.

    They are those that the configuration lists; else all but the ones of whose experiments the grid has none, or has them
    on request only, and but those of `left_out`, which may be given as `lacking` where it is known.

    Raises
    ------
    UserError
        If the configuration lists one that does not exist.
    """
    for name in grid.outputs:
        _catalog(name)
    lacking = left_out(grid) if lacking is None else lacking
    return list(grid.outputs) or [n for n in _about(grid) if n not in lacking]


def left_out(grid: Grid) -> dict[str, str]:
    """Return the figures and tables that the grid has experiments for, but not all they need, and what is missing."""
    found = {}
    for name in _about(grid) if not grid.outputs else ():
        try:
            ask(grid, name)
        except UserError as problem:
            found[name] = str(problem)
    return found


def _about(grid: Grid) -> list[str]:
    return [n for n in names() if n not in BEYOND.names() and _has_an_experiment(grid, n)]


def beyond() -> list[str]:
    """Return the figures of `figures/beyond`."""
    return BEYOND.names()


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


def code(name: str) -> Path:
    """Return the file of a figure or table; what figures share is beside it."""
    return _catalog(name).file(name)


def verdict_code(*packages: str) -> str:
    """Return the SHA-256 of the code and the data of some rooms of the package: those behind the verdicts, or behind the report."""
    folders = [Path(__file__).parents[1] / package for package in packages]
    return digest_of([METRICS, *(path for folder in folders for path in sources(folder))])


def made_from(asked: Request) -> str:
    """Return a SHA-256 of all that a figure or table is made from: what it shows, and its code."""
    return hashlib.sha256(f"{asked.to_json()} {code_digest(asked.name)}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why files are not what is asked for: `kind` is "missing", "stale" or "damaged"."""

    kind: str
    text: str


def record(name: str, made: str, files: Iterable[str], root: Path = Path(".")) -> None:
    """Note what files were made from (`made_from`, `made_from_run`), and their checksums."""
    sums = {file: _sha256(root / file) for file in files}
    content = json.dumps({"made_from": made, "sha256": sums}, indent=1)
    atomic.replace(root / paths.drawn_from(name), content.encode())


def fault(name: str, made: str, files: Iterable[str], root: Path = Path(".")) -> Fault | None:
    """Compare files with the note of when they were made; None if they are what `made` asks for, byte by byte.

    Whoever shows, lists or passes on a figure, a table, the verdicts or the report asks here.
    """
    noted = atomic.read_json(root / paths.drawn_from(name))
    sums = noted.get("sha256")
    for file in files:
        if not (root / file).is_file():
            return Fault("missing", f"{file} is missing")
    if noted.get("made_from") != made:
        return Fault("stale", f"{name} was made from other results, or by other code")
    for file in files:
        with suppress(OSError):  # what cannot be read is not what it was
            if isinstance(sums, dict) and sums.get(file) == _sha256(root / file):
                continue
        return Fault("damaged", f"{file} was changed after it was made")
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(atomic.read(path)).hexdigest()


def fault_of(asked: Request, root: Path = Path(".")) -> Fault | None:
    """Return the `fault` of a figure or table."""
    return fault(asked.name, made_from(asked), files(asked.name), root)


def made_from_run(grid: Grid, rooms: Sequence[str], claims: Path | None = None) -> str:
    """Return a SHA-256 of all that verdicts or the report are made from: the results that are there, the code of some rooms, a claims file."""
    found = {
        str(cell): [
            cell.digest(),
            *(cache.recorded_digest(key.folder / name) for name in paths.PARQUET.values()),
        ]
        for key, cell in grid.cells.items()
    }
    content = [found, verdict_code(*rooms), _sha256(claims) if claims else ""]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def files(name: str) -> list[str]:
    """Return the files of a figure or table."""
    if _catalog(name) is not TABLES:
        return [str(paths.figure(name, suffix)) for suffix in paths.FIGURE_FORMATS]
    return [str(paths.table(name, suffix)) for suffix in paths.TABLE_FORMATS]


def inputs(asked: Request) -> list[Path]:
    """Return what a figure or table reads: its cells' files, and the counts if it is a table of architectures."""
    return asked.files() + ([paths.counts()] if asked.name in COUNTED else [])


def drawable(grid: Grid, there: Callable[[Path], bool]) -> tuple[list[str], dict[str, str]]:
    """Return the figures and tables whose files are there, and of the others why not."""
    good, bad = [], {}
    for name in wanted(grid):
        try:
            lacking = next((f for f in inputs(ask(grid, name)) if not there(f)), None)
        except UserError as problem:  # the grid itself cannot make it
            bad[name] = str(problem)
            continue
        if lacking is None:
            good.append(name)
        else:
            bad[name] = f"{lacking} is not there"
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
                "classes": DATASETS[experiment.dataset].classes,
            }
    return found


def render(asked: Request) -> list[Path]:
    """Draw a figure or write a table; return its files."""
    if asked.name not in TABLES.names():
        from bnonly.figures.render import render as draw

        made = draw(asked)
    else:
        from bnonly.figures.tables.render import render as tabulate

        made = tabulate(asked)
    record(asked.name, made_from(asked), files(asked.name))
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
