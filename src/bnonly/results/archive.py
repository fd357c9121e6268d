"""An archive of results: its format, its writer, and a reader that verifies everything.

The archive is a zip: any tool opens it and can extract a single member.  ``SHA256SUMS`` lists every member's checksum in the form
that ``sha256sum --check`` reads.  ``manifest.json`` holds the configuration and the digest of every cell.  Figures, tables, verdicts
and the report are under ``published/``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bnonly import paths
from bnonly.config.reader import NAME
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.results.cache import sha256

FORMAT = "bnonly-results-1"
SUMS, MANIFEST, CITATION, ABOUT = "SHA256SUMS", "manifest.json", "CITATION.cff", "README.txt"
PREFIX = "published"
#: Already compressed; compressing them again only costs time.
STORED = {".parquet", ".safetensors", ".png", ".pdf"}
CELL_FILES = {*paths.TRAINED.values(), *paths.ANALYSED.values()}
_PUBLISHED = re.compile(rf"{PREFIX}/((figures|tables)/{NAME}|results/claims\.\w+|report\.html)", re.ASCII)
#: Largest member in bytes that is read whole as text.
LARGEST_TEXT = 64_000_000
#: Text packs to a fifth, JSON of a large grid to a fortieth; a higher ratio means a zip bomb.
TIGHTEST = 200
#: Levels of lists and mappings in a manifest; a configuration has six.
DEEPEST = 30
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)


class Writer:
    """Write members reproducibly: dated 1980, mode 644, in the caller's order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w")
        self.sums: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        """Add a member."""
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
        stored = PurePosixPath(name).suffix in STORED
        info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        self._zip.writestr(info, content)
        self.sums[name] = hashlib.sha256(content).hexdigest()

    def add_sums(self) -> None:
        """Add the checksums of all members so far."""
        lines = "".join(f"{total}  {name}\n" for name, total in sorted(self.sums.items()))
        self.add(SUMS, lines.encode())

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *reason: object) -> None:
        self._zip.close()


class Archive:
    """An archive whose list of members and manifest have been checked; `read` and `copy` check the members.

    Parameters
    ----------
    path : Path
        The file.
    checksum : str, optional
        Its published SHA-256; nothing else proves its origin.

    Attributes
    ----------
    infos : dict
        The members by name.
    cells : dict
        The digest of every cell by its folder.
    configuration : dict
        The run's configuration.
    left_out : int
        Number of weights files that were too large for the archive.

    Raises
    ------
    UserError
        If it is not an archive of results, is incomplete or has another checksum; if it unpacks to far more than its
        size, or a member belongs to no run.
    """

    def __init__(self, path: Path, checksum: str | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        expected = (checksum or "").strip().lower()
        if expected and expected != (found := sha256(path)):
            raise UserError(f"{path}: its SHA-256 is {found}, not {expected}; get it again from where it was published")
        try:
            self._zip = zipfile.ZipFile(path)
        except _ZIP_ERRORS as problem:
            raise UserError(f"{path}: is not a complete zip archive ({problem}); get it again") from None
        self.infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            self._check_name(info)
            self.infos[info.filename] = info
        self._check_sizes()
        for name in (SUMS, MANIFEST):
            if name not in self.infos:
                raise UserError(f"{path}: has no {name}, so it was not made by bnonly export, or is incomplete")
        self.sums = self._read_sums()
        for name in self.sums.keys() - self.infos.keys():
            raise UserError(f"{path}: is incomplete: {name} is not in it; get it again")
        for name in self.infos.keys() - self.sums.keys() - {SUMS}:
            raise UserError(f"{path}: {name} is not in its {SUMS}: the archive was changed; get it again")
        self._read_manifest()
        self._check_places()

    def _check_name(self, info: zipfile.ZipInfo) -> None:
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        parts = name.split("/")
        unsafe = (
            info.orig_filename != name or "\\" in name or ":" in parts[0] or not name.isprintable()
            or any(p in ("", ".", "..") for p in parts) or kind not in (0, stat.S_IFREG) or info.flag_bits & 1
            or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        )  # fmt: skip
        if unsafe:
            raise UserError(
                f"{self.path}: has the member {name!r}, which could be unpacked elsewhere or cannot be read; nothing was unpacked"
            )
        if name in self.infos:
            raise UserError(f"{self.path}: has {name} twice: the archive was changed; get it again")

    def _check_sizes(self) -> None:
        """Check sizes before any content: members that overlap or hold mostly zeros could fill disk and memory."""
        for name, info in self.infos.items():
            text = PurePosixPath(name).suffix not in STORED
            if info.file_size > max(1_000_000, TIGHTEST * info.compress_size) or (
                text and info.file_size > LARGEST_TEXT
            ):
                raise UserError(
                    f"{self.path}: {name} is {info.compress_size:,} bytes that unpack to {info.file_size:,}, which is too large for a file of a run; "
                    "nothing was unpacked"
                )
        packed = sum(info.compress_size for info in self.infos.values())
        if packed > self.path.stat().st_size:
            raise UserError(f"{self.path}: its members overlap; nothing was unpacked")

    def _read_manifest(self) -> None:
        try:
            manifest = json.loads(self.read(MANIFEST))
            if (found := manifest["format"]) != FORMAT:
                raise UserError(
                    f"{self.path}: is of format {str(found)[:40]!r}, this version reads {FORMAT}; "
                    f"use bnonly {str(manifest.get('bnonly', 'of the version it was made with'))[:40]}"
                )
            if not _is_flat(manifest):
                raise ValueError
            self.cells: dict[str, str] = manifest["cells"]
            self.configuration: dict[str, Any] = manifest["configuration"]
            weights = manifest["left_out"]["weights"]
            kinds = [(self.cells, dict), (self.configuration, dict), (weights, list)]
            if not all(isinstance(value, kind) for value, kind in kinds + [(d, str) for d in self.cells.values()]):
                raise ValueError
            self.left_out = len(weights)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{self.path}: its {MANIFEST} is not what bnonly export writes; get it again") from None

    def _check_places(self) -> None:
        """Accept only a run's files, of cells in the manifest; each cell needs all files of a finished one."""
        top = (SUMS, MANIFEST, CITATION, ABOUT, str(paths.counts()))
        for name in self.infos:
            folder, _, file = name.rpartition("/")
            known = name in top or _PUBLISHED.fullmatch(name) or (folder in self.cells and file in CELL_FILES)
            if not known:
                raise UserError(f"{self.path}: has {name}, which is no file of a run; nothing was unpacked")
        for folder in self.cells:
            key = Key.parse(folder)
            if not key or str(key.folder) != folder:
                raise UserError(
                    f"{self.path}: {MANIFEST} lists {folder!r}, which is no cell's folder; nothing was unpacked"
                )
            for kind in ("metrics", "batchnorm"):
                if (name := f"{folder}/{paths.TRAINED[kind]}") not in self.infos:
                    raise UserError(f"{self.path}: is incomplete: {name} is not in it; get it again")

    def _read_sums(self) -> dict[str, str]:
        sums = {}
        for line in self._content(SUMS).decode("utf-8", "replace").splitlines():
            total, gap, name = line.partition("  ")
            if not gap or not re.fullmatch(r"[0-9a-f]{64}", total):
                raise UserError(
                    f"{self.path}: its {SUMS} has the line {line[:60]!r} instead of a checksum and a name; get it again"
                )
            sums[name] = total
        return sums

    def _content(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except _ZIP_ERRORS as problem:
            raise UserError(
                f"{self.path}: {name} cannot be read ({problem}); the archive is damaged, get it again"
            ) from None

    def _check_sum(self, name: str, found: str) -> None:
        if name != SUMS and found != self.sums.get(name):
            raise UserError(
                f"{self.path}: {name} has the wrong checksum: the archive was damaged or changed; get it again"
            )

    def read(self, name: str) -> bytes:
        """Return a small member's bytes.

        Raises
        ------
        UserError
            If the checksum does not match.
        """
        content = self._content(name)
        self._check_sum(name, hashlib.sha256(content).hexdigest())
        return content

    def copy(self, name: str, target: Path) -> None:
        """Unpack a member.

        Raises
        ------
        UserError
            If the checksum does not match, or `target` cannot be written.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._zip.open(name) as packed, target.open("xb") as stream:
                shutil.copyfileobj(packed, stream, 1 << 20)
        except OSError as problem:
            raise UserError(
                f"{target}: cannot be written: {problem.strerror or problem}; nothing was unpacked"
            ) from None
        except _ZIP_ERRORS as problem:
            raise UserError(
                f"{self.path}: {name} cannot be read ({problem}); the archive is damaged, get it again"
            ) from None
        self._check_sum(name, sha256(target))

    def size(self) -> int:
        """Return the unpacked size of all members in bytes, as the archive states it."""
        return sum(info.file_size for info in self.infos.values())


def _is_flat(value: Any, depth: int = 0) -> bool:
    """Whether a manifest is nested shallowly enough to be read without exhausting the stack."""
    if depth > DEEPEST:
        return False
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_is_flat(v, depth + 1) for v in inner)
