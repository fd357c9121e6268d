"""Unpack an archive into a run's folder: check and write all files to a staging folder, then move them into place."""

from __future__ import annotations

import filecmp
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.config.layers import as_yaml
from bnonly.config.reader import NAME
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.figures.tables import counts
from bnonly.grid.cell import Cell, Key, differences
from bnonly.grid.resolve import Grid, resolve
from bnonly.results import atomic, cache, parquet
from bnonly.results.archive import ABOUT, CITATION, MANIFEST, PREFIX, SUMS, Archive
from bnonly.results.cache import sha256
from bnonly.results.state import state_of

#: A cell's files in the order of moving; the last one marks the cell as finished.
_NAMES = (*paths.ANALYSED.values(), *paths.TRAINED.values())


@dataclass
class Unpacked:
    """The result of `unpack`: cells imported, already present, or kept; weights left out; drawable outputs."""

    new: int = 0
    present: int = 0
    kept: int = 0
    left_out: int = 0
    drawable: list[str] = field(default_factory=list)
    undrawable: dict[str, str] = field(default_factory=dict)


def check_configuration(archive: Archive, grid: Grid) -> None:
    """Refuse an archive of another configuration.

    Raises
    ------
    UserError
        Names a cell, the difference, and a way to import the archive anyway.
    """
    theirs = {str(c): c for c in _their_grid(archive).cells.values()}
    wrong = []
    for folder, digest in archive.cells.items():
        key = Key.parse(folder)
        name, mine = str(key), grid.cells.get(key) if key else None
        if mine is None:
            wrong.append(f"{name} is not in {grid.source}")
        elif mine.digest() != digest:
            other = theirs.get(name)
            what = (
                differences(mine.canonical(), other.canonical(), "the archive's") if other else "another configuration"
            )
            wrong.append(f"{name}: {what}")
    if wrong:
        more = f", and {len(wrong) - 1} more cells" if len(wrong) > 1 else ""
        raise UserError(
            f"{archive.path}: was made with another configuration ({wrong[0]}{more}); name that configuration with --profile, --config or --set, "
            "or take the archive's own: bnonly -C FOLDER import ARCHIVE --own-configuration"
        )


def _their_grid(archive: Archive) -> Grid:
    return resolve(archive.configuration, f"{archive.path}: configuration")


def overlay(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overlay that turns one configuration into another (`bnonly.config.layers.merge`)."""
    over: dict[str, Any] = {key: None for key in base if key not in wanted}
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            if inner := overlay(base[key], value):
                over[key] = inner
        elif key not in base or base[key] != value:
            over[key] = value
    return over


def write_profile(archive: Archive, base: Mapping[str, Any], folder: str) -> Path:
    """Write a profile with an archive's configuration and a run's folder, for Snakemake and bnonly.

    Parameters
    ----------
    archive : Archive
        The archive.
    base : mapping
        The configuration below the profile: config.yaml.
    folder : str
        The run's folder as the profile names it; it is the current one.

    Returns
    -------
    Path
        The profile's folder, relative to the run's.
    """
    profile = Path("profile")
    about = f"# The configuration of {archive.path.name}, laid over config.yaml.\n"
    texts = {
        "grid.yaml": about + as_yaml(overlay(base, archive.configuration)),
        "config.yaml": as_yaml({"configfile": "grid.yaml", "directory": folder, "cores": "all"}),
    }
    for name, text in texts.items():
        with atomic.writing(profile / name) as stream:
            stream.write(text.encode())
    return profile


def unpack(archive: Archive, grid: Grid, keep: bool = False) -> Unpacked:
    """Put an archive's results into the current run's folder.

    All files are first checked and written to a staging folder, then renamed into place, a cell's metrics last.
    An interrupted import can be repeated.

    Parameters
    ----------
    archive : Archive
        The archive.
    grid : Grid
        The grid of this run; it must contain the archive's cells.
    keep : bool
        Keep cells that exist here with other results; otherwise such a cell is an error.

    Raises
    ------
    UserError
        If a member is damaged or from another configuration, a cell exists here with other results or is being trained,
        or the disk is too small.  Nothing is unpacked then.
    """
    check_configuration(archive, grid)
    free = shutil.disk_usage(".").free
    if archive.size() > free:
        raise UserError(
            f"{archive.path}: needs {archive.size() / 1e6:,.0f} MB unpacked, {Path.cwd()} has {free / 1e6:,.0f} MB free"
        )
    done = Unpacked(left_out=archive.left_out)
    try:
        staging = Path(tempfile.mkdtemp(prefix=".import-", dir="."))
    except OSError as problem:
        raise UserError(f"{Path.cwd()}: cannot be written: {problem.strerror}") from None
    try:
        for name in sorted(archive.infos):
            archive.copy(name, staging / name)
        moves = list(_moves(archive, grid, staging, keep, done))
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for folder, digest in archive.cells.items():
        here = [Path(folder) / name for name in _NAMES if (Path(folder) / name).exists()]
        if {f.name for f in here} >= set(paths.TRAINED.values()) and not cache.holds(digest):
            cache.keep(digest, here)  # as after a training: if Snakemake deletes the files, the cache restores them
    done.drawable, done.undrawable = outputs.drawable(
        grid, lambda file: "" if file.exists() or file == paths.counts() else f"{paths.shown(file)} does not exist"
    )
    return done


def _moves(archive: Archive, grid: Grid, staging: Path, keep: bool, done: Unpacked) -> Iterator[tuple[Path, Path]]:
    """Yield each file's source and destination; check every cell against its configuration and the existing files."""
    # The workflow expects inputs to be older than the files made from them.
    trained, analysed = time.time() - 20, time.time() - 10
    for folder in sorted(archive.cells):
        key = Key.parse(folder)
        assert key  # checked when the archive was opened
        cell = grid.cell(*key)
        names = [n for n in _NAMES if (staging / folder / n).exists()]
        for name in names:
            _check_file(archive, staging / folder / name, cell)
        if state_of(cell) == "running":
            raise UserError(f"{paths.shown(folder)}: is being trained; wait for it or stop it, then import again")
        here = [n for n in names if (Path(folder) / n).exists()]
        other = [n for n in here if not _same(Path(folder) / n, staging / folder / n)]
        if other and keep:
            done.kept += 1
            continue
        if other:
            raise UserError(
                f"{paths.shown(Path(folder) / other[0])}: exists here with other results than the archive's; keep yours with --keep, import into another "
                "folder with -C FOLDER, or move yours away (bnonly compare then shows the differences); nothing was unpacked"
            )
        done.present += len(here) == len(names)
        done.new += len(here) < len(names)
        # Weights imported after their analysis must not look newer: Snakemake would repeat the analysis.
        first = min((f.stat().st_mtime for f in Path(folder).glob("[!.]*")), default=math.inf)
        for name in names:
            if name not in here:
                when = analysed if name in paths.ANALYSED.values() else min(trained, first - 10)
                os.utime(staging / folder / name, (when, when))
                yield staging / folder / name, Path(folder) / name
    counted = staging / paths.counts()
    if counted.exists() and not paths.counts().exists() and _counts_all(archive, counted, grid):
        yield counted, paths.counts()
    stem = archive.path.stem
    aside = Path(PREFIX) / (stem if re.fullmatch(NAME, stem) else sha256(archive.path)[:16])
    for name in (SUMS, MANIFEST, CITATION, ABOUT):
        if (staging / name).exists():
            yield staging / name, aside / name
    for file in sorted((staging / PREFIX).rglob("*")):
        if file.is_file():
            yield file, aside / file.relative_to(staging / PREFIX)


def _same(mine: Path, theirs: Path) -> bool:
    """Whether two files have the same content; a missing file equals nothing."""
    return mine.is_file() and filecmp.cmp(mine, theirs, shallow=False)


def _counts_all(archive: Archive, file: Path, grid: Grid) -> bool:
    """Whether a table of counts has every network of this grid; the workflow would not notice that some are missing."""
    try:
        return counts.read(file).keys() >= outputs.architectures(grid).keys()
    except UserError:
        raise UserError(
            f"{archive.path}: {paths.counts()} is not a table of parameter counts; get it again; nothing was unpacked"
        ) from None


def _check_file(archive: Archive, file: Path, cell: Cell) -> None:
    """Check a file beyond its checksum: its type, its completeness, and its cell."""
    try:
        kind = next(kind for kind, name in (paths.TRAINED | paths.ANALYSED).items() if name == file.name)
        if kind in paths.PARQUET:
            parquet.read(file, kind, cell=cell)
        else:
            from bnonly.networks import weights

            weights.load(file, cell)
    except UserError as problem:
        what = str(problem).removeprefix(f"{paths.shown(file)}: ").partition(";")[0]
        raise UserError(f"{archive.path}: {cell}/{file.name} {what}; nothing was unpacked") from None
