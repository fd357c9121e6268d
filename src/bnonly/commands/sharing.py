"""Results as one archive that somebody else can check and draw every figure from (``bnonly export``, ``bnonly
import``).

The archive is a zip: any tool opens it, and a member can be taken out alone.  ``SHA256SUMS`` has every member's
checksum in the form ``sha256sum --check`` reads, ``manifest.json`` the configuration and the digest of every cell.  The
same results make the same archive.  What follows from results (figures, tables, claims, the report) is under
``published/``, and drawn anew from ``results/`` after an import.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import bnonly
from bnonly import paths
from bnonly.commands import setup
from bnonly.config.layers import as_yaml, read_yaml
from bnonly.console import size
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.grid.cell import Cell, Key, differences
from bnonly.grid.resolve import Grid, resolve
from bnonly.results import atomic, cache, parquet

if TYPE_CHECKING:
    from bnonly.commands.setup import Commands

FORMAT = "bnonly-results-1"
SUMS, MANIFEST, CITATION, ABOUT = "SHA256SUMS", "manifest.json", "CITATION.cff", "README.txt"
#: Files of a cell; the last one says that it is done and is put into place last.
TRAINED = ("batchnorm.parquet", "weights.safetensors", "metrics.parquet")
ANALYSED = ("clamping.parquet", "activations.parquet")
KINDS = {
    "metrics.parquet": "metrics",
    "batchnorm.parquet": "batchnorm",
    "clamping.parquet": "clamping",
    "activations.parquet": "activations",
}
#: What was made of the results, if it is there: patterns relative to the run's folder.
PUBLISHED = ("figures/*", "tables/*", "results/claims.*", "report.html", "report/**/*")
PREFIX = "published"
#: Weights files up to this many bytes go along unless said otherwise: all those of BatchNorm and of random weights.
SMALL_WEIGHTS = 3_000_000
#: Compressed already; compressing them again only costs time.
STORED = {".parquet", ".safetensors", ".png", ".pdf"}

_TEXT = """\
Results of '{title}', made with bnonly {version}: a reproduction of "Training BatchNorm and Only BatchNorm: On the Expressive Power
of Random Features in CNNs" (Frankle, Schwab and Morcos, ICLR 2021).

Check it:      sha256sum --check SHA256SUMS          (in the unpacked folder)
Use it:        bnonly import THIS_ARCHIVE            (in a clone of bnonly; add --profile or --config as for the run itself)
               snakemake figures/all                 (draws every figure from results/, without training)
Cite it:       CITATION.cff

{cells} trainings.  manifest.json has the configuration of every one, and what was left out; every metrics.parquet has its
own code version, device, data checksum and times.  published/ is what was drawn and tabulated where the results were made.
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    export = setup.command(
        commands, "export", run_export, "pack results, analyses and small weights into one archive with checksums"
    )
    export.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .zip that is not there yet")
    export.add_argument("target", nargs="*", help="only the cells of these figures, tables, experiments (default: all)")
    export.add_argument(
        "--weights-up-to",
        type=setup.between(0, 1e6),
        default=3.0,
        metavar="MB",
        help="larger weights files stay out (default: 3)",
    )
    parser = setup.command(
        commands, "import", run_import, "check an archive of bnonly export and put its results into place"
    )
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="the archive")
    parser.add_argument("--sha256", metavar="HEX", help="its checksum, as published")
    parser.add_argument("--keep", action="store_true", help="results that are here already and differ stay")
    parser.add_argument(
        "--own-configuration",
        action="store_true",
        help="take the archive's configuration, into a folder of its own (-C)",
    )


def run_export(options: argparse.Namespace) -> int:
    """Pack results into an archive."""
    archive = options.archive.absolute()  # before the run's folder is made the current one
    run = setup.read(options)
    keys = outputs.select(run.grid, options.target) if options.target else list(run.grid.cells)
    done = export(run.grid, run.configuration, archive, keys, int(options.weights_up_to * 1e6))
    print(f"{archive}: {done.cells} trainings, {size(done.size)}")
    print(f"SHA-256 {done.sha256}   (publish it beside the archive)")
    if done.left_out:
        print(
            f"{len(done.left_out)} weights files above {options.weights_up_to:g} MB are left out: they are needed to verify or analyse those "
            "networks again, not to draw; --weights-up-to takes them along"
        )
    if done.skipped:
        print("not finished and left out: " + ", ".join(f"{n} {state}" for state, n in done.skipped.items()))
    _tell_drawable(done)
    return 0


def _tell_drawable(done: Any) -> None:
    print(f"can be drawn without training: {', '.join(done.drawable) or 'nothing'}")
    for name, reason in list(done.undrawable.items())[:5]:
        print(f"  {name} cannot: {reason}")
    if len(done.undrawable) > 5:
        print(f"  and {len(done.undrawable) - 5} others cannot")


def run_import(options: argparse.Namespace) -> int:
    """Put an archive's results into place."""
    path = options.archive.absolute()
    archive = Archive(path, options.sha256)
    if not options.own_configuration:
        run = setup.read(options)
        done = unpack(archive, run.grid, options.keep)
        how = "snakemake" + (f" --profile {options.profile}" if options.profile else "")
        if options.directory:
            how += f" --directory {shlex.quote(options.directory)}"
    else:
        if options.profile or options.set:
            raise UserError("--own-configuration: the archive has its own; leave out --profile and --set")
        if not options.directory:
            raise UserError("--own-configuration: name a folder for that run: bnonly -C FOLDER import ...")
        base = read_yaml(options.config)
        theirs = resolve(archive.configuration, f"{path}: configuration")
        setup.enter(options.directory)
        done = unpack(archive, theirs, options.keep)
        profile = Path(options.directory) / write_profile(archive, base, options.directory)
        how = f"snakemake --profile {shlex.quote(str(profile))}"
    print(f"{done.new} trainings imported, {done.present} were here already, {done.kept} kept as they were")
    if done.left_out:
        print(f"{done.left_out} large weights files were not in the archive; drawing does not need them")
    _tell_drawable(done)
    print(f"draw with: {how} -- figures/all")
    return 0


@dataclass
class Packed:
    """What `export` put into an archive.

    Attributes
    ----------
    path : Path
        The archive.
    sha256 : str
        Its checksum, to be published beside it.
    cells, size : int
        Trainings; bytes.
    left_out : list of str
        Weights files over the limit.
    skipped : dict
        Cells that were not exported, by state.
    drawable, undrawable : dict
        Figures and tables that can be drawn from it, and those that cannot, with the reason.
    """

    path: Path
    sha256: str = ""
    cells: int = 0
    size: int = 0
    left_out: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    drawable: list[str] = field(default_factory=list)
    undrawable: dict[str, str] = field(default_factory=dict)


@dataclass
class Unpacked:
    """What `unpack` did: cells new, already present, kept as they were; weights left out; what can be drawn."""

    new: int = 0
    present: int = 0
    kept: int = 0
    left_out: int = 0
    drawable: list[str] = field(default_factory=list)
    undrawable: dict[str, str] = field(default_factory=dict)


class _Writer:
    """Members with nothing in them that depends on when and where: sorted by the caller, dated 1980, mode 644."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w")
        self.sums: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
        stored = PurePosixPath(name).suffix in STORED
        info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        self._zip.writestr(info, content)
        self.sums[name] = hashlib.sha256(content).hexdigest()

    def add_sums(self) -> None:
        lines = "".join(f"{total}  {name}\n" for name, total in sorted(self.sums.items()))
        self.add(SUMS, lines.encode())

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *reason: object) -> None:
        self._zip.close()


def export(
    grid: Grid,
    configuration: Mapping[str, Any],
    path: Path,
    keys: Iterable[Key],
    largest_weights: int = SMALL_WEIGHTS,
) -> Packed:
    """Pack finished cells, everything checked on the way.

    Parameters
    ----------
    grid : Grid
        The resolved configuration; its run's folder is the current one.
    configuration : mapping
        What it was resolved from.
    path : Path
        A ``.zip`` that is not there yet.
    keys : iterable of Key
        Which cells; those that are not finished are left out and counted.
    largest_weights : int
        Bytes; larger weights files are left out and listed.

    Raises
    ------
    UserError
        If the archive exists, a result is damaged, or nothing is finished.
    """
    from bnonly.commands.status import state_of

    if path.suffix != ".zip":
        raise UserError(f"{path}: an archive's name that ends in .zip is wanted")
    if path.exists():
        raise UserError(f"{path}: is there already; delete it, or name another")
    packed = Packed(path)
    states = {key: state_of(grid.cells[key]) for key in keys}
    done = sorted(key for key, state in states.items() if state in ("done", "diverged"))
    packed.skipped = dict(Counter(s for s in states.values() if s not in ("done", "diverged")))
    if not done:
        raise UserError(
            f"{paths.RESULTS}: nothing of '{grid.title}' is finished, so there is nothing to export; see bnonly status"
        )
    with atomic.writing(path) as stream, _Writer(stream) as writer:
        labels = []
        for key in done:
            labels.append(_pack_cell(writer, grid.cells[key], largest_weights, packed))
        if paths.counts().exists():
            writer.add(str(paths.counts()), paths.counts().read_bytes())
        for file in sorted(
            {f for pattern in PUBLISHED for f in Path().glob(pattern) if f.is_file() and not f.name.startswith(".")}
        ):
            writer.add(f"{PREFIX}/{file.as_posix()}", file.read_bytes())
        packed.drawable, packed.undrawable = _drawable(grid, lambda f: f.as_posix() in writer.sums)
        manifest = {
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
        writer.add(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        writer.add(ABOUT, _TEXT.format(title=grid.title, version=bnonly.__version__, cells=len(done)).encode())
        citation = Path(bnonly.__file__).parents[2] / CITATION
        if citation.exists():
            writer.add(CITATION, citation.read_bytes())
        writer.add_sums()
    packed.cells, packed.size, packed.sha256 = len(done), path.stat().st_size, _sha256(path)
    return packed


def _pack_cell(writer: _Writer, cell: Cell, largest_weights: int, packed: Packed) -> dict[str, Any]:
    folder = cell.key.folder
    label: dict[str, Any] = {}
    for name in sorted((*TRAINED, *ANALYSED)):
        file = folder / name
        if not file.exists():
            continue
        if name in KINDS:
            # An analysis of an older configuration is not of this cell; the cell itself was asked before.
            if name in ANALYSED and parquet.read_label(file).get("digest") != cell.digest():
                continue
            found = parquet.read(file, KINDS[name], cell=cell)[1]
            label = found if name == "metrics.parquet" else label
        elif file.stat().st_size > largest_weights:
            packed.left_out.append(file.as_posix())
            continue
        writer.add(file.as_posix(), file.read_bytes())
    return label


def _provenance(labels: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return how many cells were made by which code, versions, devices and data."""
    parts = {
        "git_commit": lambda x: x.get("git_commit"),
        "torch": lambda x: x.get("versions", {}).get("torch"),
        "device": lambda x: x.get("device_name"),
        "data_sha256": lambda x: f"{x.get('data', {}).get('dataset')} {x.get('data', {}).get('sha256')}",
        "status": lambda x: x.get("status"),
    }
    return {name: dict(sorted(Counter(str(of(label)) for label in labels).items())) for name, of in parts.items()}


def _drawable(grid: Grid, there: Any) -> tuple[list[str], dict[str, str]]:
    """Return the figures and tables whose files are there, and of the others why not."""
    good, bad = [], {}
    for name in outputs.wanted(grid):
        try:
            lacking = next((f for f in outputs.inputs(outputs.ask(grid, name)) if not there(f)), None)
        except UserError as problem:  # the grid itself cannot make it
            bad[name] = str(problem)
            continue
        if lacking is None:
            good.append(name)
        else:
            bad[name] = f"{lacking} is not there"
    return good, bad


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Archive:
    """An archive whose list of members has been checked; `unpack` checks the members.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str, optional
        What its checksum must be, as published: only that tells who made it.

    Raises
    ------
    UserError
        If it is no such archive, has another checksum, is incomplete, or has a member whose name could lead elsewhere.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if sha256 is not None and _sha256(path) != sha256.strip().lower():
            raise UserError(
                f"{path}: its SHA-256 is {_sha256(path)}, not {sha256.strip().lower()}; get it again from where it was published"
            )
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
            raise UserError(f"{path}: is not a whole zip archive ({problem}); get it again") from None
        self.infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            self._check_name(info)
            self.infos[info.filename] = info
        for name in (SUMS, MANIFEST):
            if name not in self.infos:
                raise UserError(f"{path}: has no {name}, so it was not made by bnonly export, or is incomplete")
        self.sums = self._read_sums()
        for name in self.sums.keys() - self.infos.keys():
            raise UserError(f"{path}: is incomplete: {name} is not in it; get it again")
        for name in self.infos.keys() - self.sums.keys() - {SUMS}:
            raise UserError(f"{path}: {name} is not in its {SUMS}: the archive was changed; get it again")
        try:
            self.manifest = json.loads(self.read(MANIFEST))
            if self.manifest["format"] != FORMAT:
                raise UserError(
                    f"{path}: is of format {self.manifest['format']!r}, this version reads {FORMAT}; use the bnonly it was made with"
                )
            self.cells: dict[str, str] = dict(self.manifest["cells"])
            self.configuration: dict[str, Any] = dict(self.manifest["configuration"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: its {MANIFEST} is not what bnonly export writes; get it again") from None
        self._check_places()

    def _check_name(self, info: zipfile.ZipInfo) -> None:
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        parts = name.split("/")
        unsafe = (
            info.orig_filename != name or "\\" in name or ":" in parts[0] or not name.isprintable()
            or any(p in ("", ".", "..") for p in parts) or kind not in (0, stat.S_IFREG) or info.flag_bits & 1
        )  # fmt: skip
        if unsafe:
            raise UserError(
                f"{self.path}: has the member {name!r}, which could be unpacked elsewhere or cannot be read; nothing was unpacked"
            )
        if name in self.infos:
            raise UserError(f"{self.path}: has {name} twice: the archive was changed; get it again")

    def _check_places(self) -> None:
        """Only files that a run has, of cells that the manifest lists, each with what makes it a finished one."""
        for name in self.infos:
            folder, _, file = name.rpartition("/")
            known = name in (SUMS, MANIFEST, CITATION, ABOUT, str(paths.counts())) or name.startswith(f"{PREFIX}/")
            if not known and not (folder in self.cells and file in (*TRAINED, *ANALYSED)):
                raise UserError(f"{self.path}: has {name}, which is no file of a run; nothing was unpacked")
        for folder in self.cells:
            key = Key.parse(folder)
            if not key or str(key.folder) != folder:
                raise UserError(
                    f"{self.path}: {MANIFEST} lists {folder!r}, which is no cell's folder; nothing was unpacked"
                )
            for file in ("metrics.parquet", "batchnorm.parquet"):
                if f"{folder}/{file}" not in self.infos:
                    raise UserError(f"{self.path}: is incomplete: {folder}/{file} is not in it; get it again")

    def _read_sums(self) -> dict[str, str]:
        sums = {}
        for line in self._content(SUMS).decode("utf-8", "replace").splitlines():
            total, gap, name = line.partition("  ")
            if not gap or not re.fullmatch(r"[0-9a-f]{64}", total):
                raise UserError(
                    f"{self.path}: its {SUMS} has the line {line[:60]!r}; a checksum and a name are wanted; get it again"
                )
            sums[name] = total
        return sums

    def _content(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as problem:
            raise UserError(
                f"{self.path}: {name} cannot be read ({problem}); the archive is damaged, get it again"
            ) from None

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises
        ------
        UserError
            If they do not have their checksum.
        """
        content = self._content(name)
        if hashlib.sha256(content).hexdigest() != self.sums.get(name):
            raise UserError(
                f"{self.path}: {name} does not have its checksum: the archive was damaged or changed; get it again"
            )
        return content

    def size(self) -> int:
        """Return the bytes of everything unpacked, as the archive states them."""
        return sum(info.file_size for info in self.infos.values())


def check_configuration(archive: Archive, grid: Grid) -> None:
    """Refuse an archive of another configuration.

    Raises
    ------
    UserError
        Naming a cell and what differs, and how to import it nevertheless.
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
        more = f", and {len(wrong) - 1} cells more" if len(wrong) > 1 else ""
        raise UserError(
            f"{archive.path}: was made by another configuration ({wrong[0]}{more}); name that with --profile, --config or --set, "
            "or take the archive's own: bnonly -C FOLDER import ARCHIVE --own-configuration"
        )


def _their_grid(archive: Archive) -> Grid:
    return resolve(archive.configuration, f"{archive.path}: configuration")


def overlay(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to lay over a configuration (`bnonly.config.layers.merge`) to get another."""
    over: dict[str, Any] = {key: None for key in base if key not in wanted}
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            if inner := overlay(base[key], value):
                over[key] = inner
        elif key not in base or base[key] != value:
            over[key] = value
    return over


def write_profile(archive: Archive, base: Mapping[str, Any], folder: str) -> Path:
    """Write a profile, for Snakemake and for bnonly, that has an archive's configuration and a run's folder.

    Parameters
    ----------
    archive : Archive
        Whose configuration.
    base : mapping
        What the profile is laid over: config.yaml.
    folder : str
        The run's folder, as the profile is to name it; the current one.

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

    Everything is read, checked and written beside first; then every file is renamed into place, a cell's metrics last.
    An interrupted import can be repeated.

    Parameters
    ----------
    archive : Archive
        From whom.
    grid : Grid
        Of this run; the archive's cells must be its cells.
    keep : bool
        Whether a cell that is here already, with other results, stays as it is; otherwise it is an error.

    Raises
    ------
    UserError
        If a member is damaged or of another configuration, a cell is here with other results or is being trained, or
        the disk is too small. Nothing was put into place then.
    """
    check_configuration(archive, grid)
    free = shutil.disk_usage(".").free
    if archive.size() > free:
        raise UserError(
            f"{archive.path}: needs {archive.size() / 1e6:,.0f} MB unpacked, {Path.cwd()} has {free / 1e6:,.0f} MB free"
        )
    done = Unpacked(left_out=len(archive.manifest.get("left_out", {}).get("weights", [])))
    try:
        staging = Path(tempfile.mkdtemp(prefix=".import-", dir="."))
    except OSError as problem:
        raise UserError(f"{Path.cwd()}: cannot be written: {problem.strerror}") from None
    try:
        for name in sorted(archive.infos):
            place = staging / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive._content(name) if name == SUMS else archive.read(name))
        moves = list(_moves(archive, grid, staging, keep, done))
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for folder, digest in archive.cells.items():
        here = [Path(folder) / n for n in (*TRAINED, *ANALYSED) if (Path(folder) / n).exists()]
        if {f.name for f in here} >= set(TRAINED) and not cache.holds(digest):
            cache.keep(digest, here)  # as after a training: what Snakemake deletes can be taken from there
    done.drawable, done.undrawable = _drawable(grid, Path.exists)
    return done


def _moves(archive: Archive, grid: Grid, staging: Path, keep: bool, done: Unpacked) -> Iterator[tuple[Path, Path]]:
    """Yield what goes where, every cell checked against its configuration and against what is here."""
    from bnonly.commands.status import state_of

    # What was trained is older than what was made of it, as the workflow would have it.
    trained, analysed = time.time() - 20, time.time() - 10
    for folder in sorted(archive.cells):
        key = Key.parse(folder)
        assert key  # checked when the archive was opened
        cell = grid.cell(*key)
        names = [n for n in (*ANALYSED, *TRAINED) if (staging / folder / n).exists()]
        for name in names:
            _check_file(archive, staging / folder / name, cell)
        if state_of(cell) == "running":
            raise UserError(f"{folder}: is being trained; wait for it or stop it, then import again")
        here = [n for n in names if (Path(folder) / n).exists()]
        other = [n for n in here if (Path(folder) / n).read_bytes() != (staging / folder / n).read_bytes()]
        if other and keep:
            done.kept += 1
            continue
        if other:
            raise UserError(
                f"{folder}/{other[0]}: is here already, with other results than the archive's; keep yours with --keep, import into another "
                "folder with -C FOLDER, or move yours away (then bnonly compare them); nothing was unpacked"
            )
        done.present += len(here) == len(names)
        done.new += len(here) < len(names)
        # Weights that join analyses made of them must not seem newer: they would be analysed again.
        first = min((f.stat().st_mtime for f in Path(folder).glob("[!.]*")), default=math.inf)
        for name in names:
            if name not in here:
                when = analysed if name in ANALYSED else min(trained, first - 10)
                os.utime(staging / folder / name, (when, when))
                yield staging / folder / name, Path(folder) / name
    if (staging / paths.counts()).exists() and not paths.counts().exists():
        yield staging / paths.counts(), paths.counts()
    aside = Path(PREFIX) / archive.path.stem
    for name in (SUMS, MANIFEST, CITATION, ABOUT):
        if (staging / name).exists():
            yield staging / name, aside / name
    for file in sorted((staging / PREFIX).rglob("*")):
        if file.is_file():
            yield file, aside / file.relative_to(staging / PREFIX)


def _check_file(archive: Archive, file: Path, cell: Cell) -> None:
    """Check a file beyond its checksum in the archive: that it is what its name says, whole, and of this cell."""
    try:
        if file.name in KINDS:
            parquet.read(file, KINDS[file.name], cell=cell)
        else:
            from bnonly.networks import weights

            weights.load(file, cell)
    except UserError as problem:
        what = str(problem).removeprefix(f"{file}: ").partition(";")[0]
        raise UserError(f"{archive.path}: {cell}/{file.name} {what}; nothing was unpacked") from None
