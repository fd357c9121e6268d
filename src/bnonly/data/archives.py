"""The official archives with their checksums and addresses: the table archives.csv."""

from __future__ import annotations

import csv
import socket
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path

from bnonly.errors import UserError

TABLE = Path(__file__).with_suffix(".csv")
#: Timeout of a mirror in seconds.
PATIENCE = 20


@dataclass(frozen=True)
class Archive:
    """A file as its authors published it; `mirrors` are tried in order.  There are none if a person must fetch the file."""

    dataset: str
    file: str
    md5: str
    mirrors: tuple[str, ...]


@cache
def table() -> dict[tuple[str, str], Archive]:
    """Return the table, by data set and file."""
    with TABLE.open(newline="") as stream:
        rows = [Archive(r["dataset"], r["file"], r["md5"], tuple(r["mirrors"].split())) for r in csv.DictReader(stream)]
    return {(r.dataset, r.file): r for r in rows}


def known(dataset: str, file: str) -> Archive:
    """Return the table's entry for an official file."""
    return table()[dataset, file]


def downloads(dataset: str) -> list[Archive]:
    """Return the archives of a data set that a program can fetch."""
    return [a for a in table().values() if a.dataset == dataset and a.mirrors]


def download(archive: Archive, folder: Path) -> Path:
    """Fetch an archive from the first mirror that answers, with torchvision's downloader, and check its MD5.

    Raises
    ------
    UserError
        If no mirror answers, with the manual steps.
    """
    from torchvision.datasets.utils import check_integrity, download_url

    path = folder / archive.file
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    problem: Exception | None = None
    try:
        for url in archive.mirrors:
            try:
                download_url(url, str(folder), archive.file, archive.md5)
                return path
            except (OSError, RuntimeError, ValueError, HTTPException) as failure:
                problem = failure
                if path.exists() and not check_integrity(str(path), archive.md5):
                    path.unlink()
    finally:
        socket.setdefaulttimeout(before)
    raise UserError(
        f"{archive.file}: cannot be fetched from {len(archive.mirrors)} mirrors ({problem}); where there is a network "
        f"fetch {archive.mirrors[0]} into a folder, then run: bnonly prepare {archive.dataset} --from FOLDER"
    )
