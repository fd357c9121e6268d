"""The official archives, their checksums and where they can be fetched: the table archives.csv."""

from __future__ import annotations

import csv
import socket
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path

from bnonly.errors import UserError

TABLE = Path(__file__).with_suffix(".csv")
#: Seconds without an answer after which a mirror is given up.
PATIENCE = 20


@dataclass(frozen=True)
class Archive:
    """A file as its authors published it; `mirrors` are tried in order, none if a person has to fetch it."""

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
    """Return what is known of an official file."""
    return table()[dataset, file]


def downloads(dataset: str) -> list[Archive]:
    """Return the archives of a data set that can be fetched without a person."""
    return [a for a in table().values() if a.dataset == dataset and a.mirrors]


def download(archive: Archive, folder: Path) -> Path:
    """Fetch an archive with torchvision's downloader, its MD5 checked; the first mirror that answers is taken.

    Raises
    ------
    UserError
        If none does, saying what to do by hand.
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
        f"fetch {archive.mirrors[0]}, then run: bnonly prepare {archive.dataset} --from {archive.file}"
    )
