"""``bnonly export`` and ``bnonly import``: results as one archive.  Its readers can check it and draw every figure from it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bnonly
from bnonly import paths
from bnonly.commands import setup
from bnonly.commands.unpacking import Unpacked, unpack, write_profile
from bnonly.config.layers import read_yaml
from bnonly.console import size
from bnonly.errors import UserError
from bnonly.figures import manifest, outputs, staleness
from bnonly.figures.tables import counts
from bnonly.grid.cell import Cell, Key
from bnonly.grid.resolve import Grid, resolve
from bnonly.results import atomic, parquet
from bnonly.results.archive import ABOUT, CITATION, FORMAT, MANIFEST, PREFIX, Archive, Writer
from bnonly.results.cache import sha256
from bnonly.results.state import FINISHED, state_of

#: Default size limit of exported weights files in bytes: it admits all BatchNorm and random weights.
SMALL_WEIGHTS = 3_000_000

_TEXT = """\
Results of '{title}', made with bnonly {version}: a reproduction of "Training BatchNorm and Only BatchNorm: On the Expressive Power
of Random Features in CNNs" (Frankle, Schwab and Morcos, ICLR 2021).

Check it:      sha256sum --check SHA256SUMS          (in the unpacked folder)
Use it:        bnonly import THIS_ARCHIVE            (in a clone of bnonly; add --profile or --config as for the run itself)
               snakemake figures/all report          (draws every figure from results/, without training)
Cite it:       CITATION.cff

{cells} trainings.  manifest.json has the configuration of each one, and lists the omitted files; every metrics.parquet has its
code version, device, data checksum and times.  published/ has the figures and tables drawn from the original results.
"""


def add(commands: setup.Commands) -> None:
    """Add the commands."""
    export = setup.command(
        commands, "export", run_export, "pack results, analyses and small weights into one archive with checksums"
    )
    export.add_argument("archive", type=Path, metavar="ARCHIVE", help="name of a new .zip file")
    export.add_argument(
        "target", nargs="*", help="export only the cells of these figures, tables, experiments (default: all)"
    )
    export.add_argument(
        "--weights-up-to",
        type=setup.between(0, 1e6),
        default=3.0,
        metavar="MB",
        help="leave out larger weights files (default: 3)",
    )
    parser = setup.command(
        commands, "import", run_import, "check an archive of bnonly export and copy its results into the run's folder"
    )
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="archive made by bnonly export")
    parser.add_argument("--sha256", metavar="HEX", help="the archive's published checksum")
    parser.add_argument("--keep", action="store_true", help="keep existing results that differ from the archive's")
    parser.add_argument(
        "--own-configuration",
        action="store_true",
        help="use the archive's configuration, in a separate folder (-C)",
    )


def run_export(options: argparse.Namespace) -> int:
    """Pack results into an archive."""
    archive = options.archive.absolute()  # before the run's folder becomes the current one
    run = setup.read(options)
    keys = outputs.select(run.grid, options.target) if options.target else list(run.grid.cells)
    if options.target and not keys:
        raise UserError(f"{', '.join(options.target)}: needs no training, so there is nothing to export")
    done = export(run.grid, run.configuration, archive, keys, int(options.weights_up_to * 1e6))
    print(f"{archive}: {done.cells} trainings, {size(done.size)}")
    print(f"SHA-256 {done.sha256}   (publish it beside the archive)")
    if done.left_out:
        print(
            f"{len(done.left_out)} weights files above {options.weights_up_to:g} MB are left out: only verifying or analysing those "
            "networks needs them; --weights-up-to includes them"
        )
    if done.skipped:
        print("left out, because not finished: " + ", ".join(f"{n} {state}" for state, n in done.skipped.items()))
    for name, reason in done.outdated.items():
        print(f"left out, because it does not match these results: {name} ({reason})")
    _tell_drawable(done, run.grid, setup.workflow(options, "-n"))
    return 0


def _tell_drawable(done: Packed | Unpacked, grid: Grid, dry_run: str) -> None:
    print(f"can be drawn without training: {', '.join(done.drawable) or 'nothing'}")
    lacking = outputs.left_out(grid)
    others = {name: reason for name, reason in done.undrawable.items() if name not in lacking}
    for name, reason in list(others.items())[:5]:
        print(f"  {name} cannot: {reason}")
    if len(others) > 5:
        print(f"  and {len(others) - 5} others cannot")
    if lacking:
        print(outputs.note(lacking, f"{dry_run} {next(iter(lacking))}"))


def run_import(options: argparse.Namespace) -> int:
    """Import an archive's results."""
    path = options.archive.absolute()
    archive = Archive(path, options.sha256)
    if not options.own_configuration:
        run = setup.read(options)
        grid, how, dry_run = run.grid, setup.workflow(options), setup.workflow(options, "-n")
        done = unpack(archive, grid, options.keep)
    else:
        if options.profile or options.configfile or options.set:
            raise UserError(
                "--own-configuration uses the archive's configuration; leave out --profile, --configfile and --set"
            )
        if not options.directory:
            raise UserError("--own-configuration: name a folder for that run: bnonly -C FOLDER import ...")
        base = read_yaml(options.config)
        grid = resolve(archive.configuration, f"{path}: configuration")
        setup.enter(options.directory)
        done = unpack(archive, grid, options.keep)
        profile = Path(options.directory) / write_profile(archive, base, options.directory)
        how = f"snakemake --profile {shlex.quote(str(profile))}"
        dry_run = f"{how} -n"
    print(f"{done.new} trainings imported, {done.present} already present, {done.kept} existing ones kept")
    if done.left_out:
        print(f"{done.left_out} large weights files were not in the archive; drawing does not need them")
    _tell_drawable(done, grid, dry_run)
    print(f"draw with: {how} figures/all report")
    return 0


@dataclass
class Packed:
    """The result of `export`.

    Attributes
    ----------
    path : Path
        The archive.
    sha256 : str
        Its checksum, to publish beside the archive.
    cells, size : int
        Number of trainings; bytes.
    left_out : list of str
        Weights files over the limit.
    outdated : dict
        Figures, tables, verdicts and report that do not match these results, with the reason.
    skipped : dict
        Number of cells not exported, by state.
    drawable, undrawable : dict
        Figures and tables that can be drawn from the archive, and those that cannot, with the reason.
    """

    path: Path
    sha256: str = ""
    cells: int = 0
    size: int = 0
    left_out: list[str] = field(default_factory=list)
    outdated: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    drawable: list[str] = field(default_factory=list)
    undrawable: dict[str, str] = field(default_factory=dict)


def export(
    grid: Grid,
    configuration: Mapping[str, Any],
    path: Path,
    keys: Iterable[Key],
    largest_weights: int = SMALL_WEIGHTS,
) -> Packed:
    """Check finished cells and pack them.

    Parameters
    ----------
    grid : Grid
        The resolved configuration of the current folder's run.
    configuration : mapping
        The unresolved configuration.
    path : Path
        A new ``.zip`` file.
    keys : iterable of Key
        The requested cells; unfinished ones are left out and counted.
    largest_weights : int
        Size limit in bytes; larger weights files are left out and listed.

    Raises
    ------
    UserError
        If the archive exists, a result is damaged, or nothing is finished.
    """
    if path.suffix != ".zip":
        raise UserError(f"{path}: the archive's name must end in .zip")
    if path.exists():
        raise UserError(f"{path}: already exists; delete it, or choose another name")
    packed = Packed(path)
    states = {key: state_of(grid.cells[key]) for key in keys}
    done = sorted(key for key, state in states.items() if state in FINISHED)
    packed.skipped = dict(Counter(s for s in states.values() if s not in FINISHED))
    if not done:
        raise UserError(
            f"{paths.shown(paths.RESULTS)}: nothing of '{grid.title}' is finished, so there is nothing to export; see bnonly status"
        )
    with atomic.writing(path) as stream, Writer(stream) as writer:
        labels = []
        for key in done:
            labels.append(_pack_cell(writer, grid.cells[key], largest_weights, packed))
        if paths.counts().exists():
            counts.read(paths.counts())  # refuses a file that is no such table
            writer.add(str(paths.counts()), paths.counts().read_bytes())
        made, packed.outdated = _made(grid)
        for file in sorted(made):
            writer.add(f"{PREFIX}/{file}", Path(file).read_bytes())
        packed.drawable, packed.undrawable = outputs.drawable(
            grid, lambda file: "" if file.as_posix() in writer.sums else f"{file} is not in the archive"
        )
        content = {
            "format": FORMAT,
            "title": grid.title,
            "bnonly": bnonly.__version__,
            "configuration": configuration,
            "cells": {str(key.folder): grid.cells[key].digest() for key in done},
            "left_out": {
                "weights": packed.left_out,
                "larger_than_bytes": largest_weights,
                "unfinished": packed.skipped,
            },
            "drawable": packed.drawable,
            "provenance": _provenance(labels),
        }
        writer.add(MANIFEST, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        writer.add(ABOUT, _TEXT.format(title=grid.title, version=bnonly.__version__, cells=len(done)).encode())
        citation = Path(bnonly.__file__).parents[2] / CITATION
        if citation.exists():
            writer.add(CITATION, citation.read_bytes())
        writer.add_sums()
    packed.cells, packed.size, packed.sha256 = len(done), path.stat().st_size, sha256(path)
    return packed


def _pack_cell(writer: Writer, cell: Cell, largest_weights: int, packed: Packed) -> dict[str, Any]:
    folder = cell.key.folder
    label: dict[str, Any] = {}
    for kind, name in sorted((paths.TRAINED | paths.ANALYSED).items(), key=lambda item: item[1]):
        file = folder / name
        if not file.exists():
            continue
        if kind in paths.PARQUET:
            found = parquet.read(file, kind)[1]
            # An analysis from an older configuration is left out; the cell itself was checked before.
            if kind in paths.ANALYSED and found.get("digest") != cell.digest():
                continue
            parquet.check_cell(file, found, None, cell)
            label = found if kind == "metrics" else label
        elif file.stat().st_size > largest_weights:
            packed.left_out.append(file.as_posix())
            continue
        else:
            from bnonly.networks import weights

            weights.load(file, cell)
        writer.add(file.as_posix(), file.read_bytes())
    return label


def _made(grid: Grid) -> tuple[list[str], dict[str, str]]:
    """Return the files that match the current results, and the others with the reason."""
    faults: dict[str, tuple[list[str], staleness.Fault | None]] = {}
    for name in outputs.wanted(grid):
        with suppress(UserError):  # the grid cannot make this output
            faults[name] = outputs.files(name), staleness.fault_of(outputs.ask(grid, name))
    for name, rooms, files in (
        ("claims", ["paper", "verdicts"], [paths.CLAIMS, *(paths.table("claims", s) for s in paths.TABLE_FORMATS)]),
        ("report", ["paper", "verdicts", "report"], [paths.REPORT]),
    ):
        names = [str(file) for file in files]
        faults[name] = names, staleness.fault(name, staleness.made_from_run(grid, rooms), names)
    good = [file for files, fault in faults.values() if not fault for file in files]
    bad = {name: fault.text for name, (_, fault) in faults.items() if fault and fault.kind != "missing"}
    return good + [str(paths.MANIFEST)] * manifest.is_current(grid), bad


def _provenance(labels: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the number of cells by code version, library versions, device and data."""
    parts = {
        "git_commit": lambda x: x.get("git_commit"),
        "torch": lambda x: x.get("versions", {}).get("torch"),
        "device": lambda x: x.get("device_name"),
        "data_sha256": lambda x: f"{x.get('data', {}).get('dataset')} {x.get('data', {}).get('sha256')}",
        "status": lambda x: x.get("status"),
    }
    return {name: dict(sorted(Counter(str(of(label)) for label in labels).items())) for name, of in parts.items()}
