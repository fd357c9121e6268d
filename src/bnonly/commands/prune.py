"""``bnonly prune``: remove kept results and checkpoints that the configuration no longer needs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from bnonly import paths
from bnonly.commands import setup
from bnonly.errors import UserError
from bnonly.grid.resolve import Grid
from bnonly.results import cache, lock


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands, "prune", run_prune, "remove finished cells and checkpoints that the configuration no longer needs"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the files without removing them")


def run_prune(options: argparse.Namespace) -> int:
    """Remove files that the configuration no longer needs."""
    run = setup.read(options)
    last = setup.recorded()
    for line in prune(run.grid, options.dry_run, last.grid if last else None):
        print(line)
    return 0


def prune(grid: Grid, dry_run: bool, last: Grid | None = None) -> Iterator[str]:
    """Remove files that no cell of the grid can use; yield a line for each, and the total.

    Parameters
    ----------
    grid : Grid
        The current grid.
    dry_run : bool
        Remove nothing.
    last : Grid, optional
        The grid of the workflow's last run here.  Its files stay too, because that run may still be going on.

    Raises
    ------
    UserError
        At the end, if some files could not be removed.
    """
    asked = {cell.digest() for cell in grid.cells.values()}
    wanted = asked | {cell.digest() for cell in last.cells.values()} if last else asked
    freed, kept = 0, 0
    for path, size in _unneeded(wanted):
        problem = "" if dry_run else _remove(path)
        yield f"{paths.shown(path)}: {problem or f'{size / 1e6:.1f} MB'}"
        if problem:
            kept += 1
        else:
            freed += size
    yield f"{freed / 1e6:.1f} MB {'would be' if dry_run else 'were'} freed"
    if kept:
        raise UserError(
            f"{paths.shown(paths.RESULTS)}: {kept} could not be removed, for the reasons above; "
            "if they belong to another user, ask that user"
        )


def _unneeded(wanted: Container[str]) -> Iterator[tuple[Path, int]]:
    """Yield what belongs to no cell of these digests and to no training that goes on, each with its size in bytes."""
    for digest in cache.digests():
        if digest not in wanted:
            yield paths.finished(digest), cache.size(digest)
    for path in sorted(paths.RESULTS.glob("*/*/seed*/.checkpoint-*.pt")):
        found = lock.owner_of(path.parent)
        if path.stem.removeprefix(".checkpoint-") not in wanted and not (found and lock.is_alive(path.parent, found)):
            yield path, path.stat().st_size


def _remove(path: Path) -> str:
    """Remove a file or a folder; return the reason if that fails."""
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as problem:
        return f"could not be removed: {problem.strerror}"
    return ""
