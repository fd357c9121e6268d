"""Whether figures, tables, verdicts and the report match the current results and code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from bnonly import paths
from bnonly.figures.catalog import METRICS, digest_of, sources
from bnonly.figures.needs import Request
from bnonly.figures.outputs import catalog_of, files
from bnonly.grid.resolve import Grid
from bnonly.results import atomic, cache


def verdict_code(*packages: str) -> str:
    """Return the SHA-256 of the code and the data of some rooms of the package, for the verdicts or the report."""
    folders = [Path(__file__).parents[1] / package for package in packages]
    return digest_of([METRICS, *(path for folder in folders for path in sources(folder))])


def made_from(asked: Request) -> str:
    """Return a SHA-256 of the request and the code of a figure or table."""
    code = catalog_of(asked.name).code_digest(asked.name)
    return hashlib.sha256(f"{asked.to_json()} {code}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Fault:
    """The reason why files are not as requested; `kind` is "missing", "stale" or "damaged"."""

    kind: str
    text: str


def record(name: str, made: str, files: Iterable[str], root: Path = Path(".")) -> None:
    """Record the digest of the files' sources (`made_from`, `made_from_run`) and the files' checksums."""
    sums = {file: _sha256(root / file) for file in files}
    content = json.dumps({"made_from": made, "sha256": sums}, indent=1)
    atomic.replace(root / paths.drawn_from(name), content.encode())


def fault(name: str, made: str, files: Iterable[str], root: Path = Path(".")) -> Fault | None:
    """Compare files with their record; return None if they match `made` and are unchanged byte by byte.

    Code that shows, lists or exports a figure, a table, the verdicts or the report calls this first.
    """
    noted = atomic.read_json(root / paths.drawn_from(name))
    sums = noted.get("sha256")
    for file in files:
        if not (root / file).is_file():
            return Fault("missing", f"{paths.shown(root / file)} is missing")
    if noted.get("made_from") != made:
        return Fault("stale", f"{name} was made from other results, or by other code")
    for file in files:
        with suppress(OSError):  # an unreadable file counts as changed
            if isinstance(sums, dict) and sums.get(file) == _sha256(root / file):
                continue
        return Fault("damaged", f"{paths.shown(root / file)} was changed after it was made")
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(atomic.read(path)).hexdigest()


def fault_of(asked: Request, root: Path = Path(".")) -> Fault | None:
    """Return the `fault` of a figure or table."""
    return fault(asked.name, made_from(asked), files(asked.name), root)


def made_from_run(grid: Grid, rooms: Sequence[str], claims: Path | None = None) -> str:
    """Return a SHA-256 of the sources of verdicts or the report: the current results, the code of some rooms, a claims file."""
    found = {
        str(cell): [
            cell.digest(),
            *(cache.recorded_digest(key.folder / name) for name in paths.PARQUET.values()),
        ]
        for key, cell in grid.cells.items()
    }
    content = [found, verdict_code(*rooms), _sha256(claims) if claims else ""]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
