"""Pack a set of photographs: the bytes of all images in a few large files, and an index.

A cluster's file system handles a hundred files better than a million.  The images keep their original bytes
(JPEG in colour, grey or CMYK, PNG under a JPEG's name).  Only data sets declared as shrunk are encoded again.
Every image is decoded once here, so that training meets no undecodable image.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from bnonly.console import Meter
from bnonly.data import parquet, prepared
from bnonly.data.arrays import statistics
from bnonly.data.crops import test_box
from bnonly.data.decoding import decode_plain, read_rgb
from bnonly.data.folders import Item, Plan, find_images
from bnonly.data.prepared import Manifest
from bnonly.data.unreadable import PARTIAL, left_out, reason, refuse_unreadable, versions
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS, DatasetInfo
from bnonly.results import atomic

#: The index has one entry per image, in the images' order.  `plain` images are colour or grey JPEGs that the
#: fast decoder reads; the others need the slow one.
INDEX = np.dtype(
    [
        ("offset", "<i8"),
        ("size", "<i4"),
        ("crc", "<u4"),
        ("pack", "<i4"),
        ("label", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("plain", "<i4"),
    ]
)
PACK_BYTES = 1 << 30
_READING = threading.Lock()
#: Most images in progress while a pack is written.
GROUP = 256
QUALITY = 90
#: Side in pixels of the test crop, over which mean and standard deviation are computed.
VIEW = 224


def pack_name(part: str, number: int) -> str:
    """Return the name of a pack, for example ``train-000.pack``."""
    return f"{part}-{number:03d}.pack"


def prepare_photographs(
    info: DatasetInfo, source: Path, folder: Path, skip_unreadable: bool, workers: int, quiet: bool
) -> Manifest:
    """Pack a data set of photographs.  Packs that an interrupted call finished are kept.

    Parameters
    ----------
    info : DatasetInfo
        Data set.
    source : Path
        The data set as it is distributed; see `bnonly.data.folders`.
    folder : Path
        Folder of the packs.
    skip_unreadable : bool
        Leave out images that cannot be read.
    workers : int
        Threads that decode.
    quiet : bool
        Print no progress.

    Raises
    ------
    UserError
        If the source is invalid or the disk is full.
    """
    partial = folder / PARTIAL
    plan = find_images(source, partial, quiet)
    parts = {"train": plan.train, "test": plan.test}
    check_plan(info, source, plan)
    work = [
        _Work(part, number, items, info.shrink)
        for part, all_items in parts.items()
        for number, items in enumerate(_shares(all_items))
    ]
    done = {w: found for w in work if (found := _finished(folder, w, skip_unreadable))}
    todo = [w for w in work if w not in done]
    partial.mkdir(parents=True, exist_ok=True)
    prepared.check_space(partial, sum(w.least_bytes() for w in todo) + sum(w.index_bytes() for w in work))
    images = sum(len(w.items) for w in todo)
    with Meter(f"preparing {info.name}", images, quiet=quiet) as meter, ThreadPoolExecutor(workers) as pool:
        if done:
            meter.line(f"{len(done)} of {len(work)} packs kept from an interrupted preparation")
        for w in todo:
            done[w] = _write_pack(partial, w, pool, meter)
    unreadable = [text for w in work for text in done[w].unreadable]
    refuse_unreadable(unreadable, source, skip_unreadable)
    indices = {p: np.concatenate([done[w].index for w in work if w.part == p]) for p in parts}
    per_class = {p: np.bincount(i["label"], minlength=len(plan.class_names)).tolist() for p, i in indices.items()}
    mean, std = statistics(np.sum([done[w].counts for w in work if w.part == "train"], axis=0))
    manifest = Manifest(
        dataset=info.name,
        class_names=plan.class_names,
        image_size=0,
        train_per_class=per_class["train"],
        test_per_class=per_class["test"],
        mean=mean.tolist(),
        std=std.tolist(),
        files={},
        source={"layout": plan.layout, "files": [source.name]},
        stored=f"shrunk to {info.shrink} pixels (Lanczos, JPEG quality {QUALITY})" if info.shrink else "as distributed",
        left_out=left_out(unreadable, plan.left_aside),
        versions=versions(),
    )
    prepared.check_counts(manifest, info, str(source), "replace the unreadable images")
    for part, index in indices.items():
        names = "".join(f"{n}\n" for w in work if w.part == part for n in done[w].names)
        for kind, content in (("index", index.tobytes()), ("names", names.encode("utf-8", "surrogateescape"))):
            path = partial / f"{part}.{kind}"
            with atomic.writing(path) as stream:
                stream.write(content)
            manifest.files[path.name] = prepared.describe(path)
    for w in work:
        manifest.files[w.file] = {"bytes": done[w].bytes, "sha256": done[w].sha256}
    # Only when all files are written; after an interruption, files already moved are found there.
    for file in manifest.files:
        if (partial / file).exists():
            os.replace(partial / file, folder / file)
    for path in folder.glob("*.pack"):  # from an interrupted preparation with another source
        if path.name not in manifest.files:
            path.unlink()
    return manifest


def check_plan(info: DatasetInfo, source: Path, plan: Plan) -> None:
    """Compare the images found with the data set's description, where it has counts.

    Raises
    ------
    UserError
        If a count differs.
    """
    remedy = (
        "fetch it again, or describe a subset under datasets in the configuration"
        if info.name in DATASETS
        else f"correct datasets.{info.name} in the configuration"
    )
    for what, found, wanted in (
        ("classes", len(plan.class_names), info.classes),
        ("training images", len(plan.train), info.train_images),
        ("test images", len(plan.test), info.test_images),
    ):
        if wanted and found != wanted:
            aside = f" ({plan.aside()})" if plan.aside() else ""
            raise UserError(f"{source}: {found:,} {what}{aside}, {info.name} has {wanted:,}; {remedy}")


@dataclass(frozen=True, eq=False)
class _Work:
    """One pack to write."""

    part: str
    number: int
    items: list[Item]
    shrink: int

    @property
    def file(self) -> str:
        return pack_name(self.part, self.number)

    def least_bytes(self) -> int:
        """Bytes that the pack needs; for shrunk images a low estimate of two bits per pixel of a square."""
        return sum(min(i.size, self.shrink**2 // 4) if self.shrink else i.size for i in self.items)

    def index_bytes(self) -> int:
        """Bytes that its part of the index and the names needs."""
        return sum(INDEX.itemsize + len(i.name) + 1 for i in self.items)

    def key(self) -> str:
        """Digest of the pack's images; a pack from another source is written again."""
        lines = "".join(f"{i.label} {i.name} {i.size}\n" for i in self.items)
        head = f"{prepared.FORMAT} {self.shrink} {QUALITY}\n"
        return hashlib.sha256((head + lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class _Done:
    """One finished pack."""

    index: np.ndarray
    names: list[str]
    counts: np.ndarray
    unreadable: list[str]
    bytes: int
    sha256: str


def _shares(items: list[Item]) -> Iterator[list[Item]]:
    share: list[Item] = []
    total = 0
    for item in items:
        if share and total + item.size > PACK_BYTES:
            yield share
            share, total = [], 0
        share.append(item)
        total += item.size
    yield share


def _finished(folder: Path, work: _Work, skip_unreadable: bool) -> _Done | None:
    """Return the record of a pack that an interrupted preparation finished, if it exists for the same images."""
    partial = folder / PARTIAL
    note = partial / f"{work.file}.npz"
    place = partial / work.file if (partial / work.file).exists() else folder / work.file
    try:
        with np.load(note) as content:
            label = json.loads(content["label"].tobytes())
            facts = {k: label[k] for k in ("names", "unreadable", "bytes", "sha256")}
            done = _Done(index=content["index"], counts=content["counts"], **facts)
        # A pack with unreadable images is written again: they may have been replaced.
        same = label["key"] == work.key() and (skip_unreadable or not done.unreadable)
        return done if same and place.stat().st_size == done.bytes else None
    except Exception:  # the record is absent or damaged: write the pack again
        return None


def _write_pack(partial: Path, work: _Work, pool: ThreadPoolExecutor, meter: Meter) -> _Done:
    index, names, unreadable = [], [], []
    counts = np.zeros((3, 256), np.int64)
    total = hashlib.sha256()
    offset = 0
    with atomic.writing(partial / work.file) as stream:
        for start in range(0, len(work.items), GROUP):
            group = work.items[start : start + GROUP]
            for item, found in zip(group, pool.map(lambda i: _inspect(i, work.shrink), group), strict=True):
                meter.add(1)
                if isinstance(found, str):
                    unreadable.append(f"{item.folder}/{item.name} ({found})")
                    continue
                content, width, height, plain, values = found
                stream.write(content)
                total.update(content)
                index.append((offset, len(content), zlib.crc32(content), work.number, item.label, height, width, plain))
                names.append(item.name)
                counts += values
                offset += len(content)
    done = _Done(np.array(index, INDEX), names, counts, unreadable, offset, total.hexdigest())
    label = {k: getattr(done, k) for k in ("names", "unreadable", "bytes", "sha256")} | {"key": work.key()}
    with atomic.writing(partial / f"{work.file}.npz") as stream:
        np.savez(stream, index=done.index, counts=counts, label=np.frombuffer(json.dumps(label).encode(), np.uint8))
    return done


def content_of(item: Item) -> bytes:
    """Return the bytes of an image.

    Raises
    ------
    ValueError
        If bytes are missing.
    """
    if item.group >= 0:
        content = _row_group(item.path, item.group)[item.offset]
        if content is None:
            raise ValueError("the row has no image")
        return content
    with open(item.path, "rb") as stream:
        stream.seek(item.offset)
        found = stream.read(item.size)
    if len(found) < item.size:
        raise ValueError("the file ends before it")
    return found


def _row_group(path: str, group: int) -> list[bytes | None]:
    with _READING:  # one thread reads a group for all
        return _read_row_group(path, group)


@lru_cache(maxsize=2)  # images are read in row order
def _read_row_group(path: str, group: int) -> list[bytes | None]:
    return parquet.row_group(Path(path), group)


def _inspect(item: Item, shrink: int) -> tuple[bytes, int, int, bool, np.ndarray] | str:
    """Read and decode an image; return bytes, size, kind and counts of values, or the error as text."""
    try:
        content = content_of(item)
        pixels, plain = read_rgb(content)
    except Exception as problem:  # decoders raise many types on damaged bytes
        return reason(problem)
    if shrink and min(pixels.size) > shrink:
        factor = shrink / min(pixels.size)
        width, height = (max(shrink, round(side * factor)) for side in pixels.size)
        encoded = io.BytesIO()
        pixels = pixels.resize((width, height), Image.Resampling.LANCZOS)
        pixels.save(encoded, "JPEG", quality=QUALITY)
        content, plain = encoded.getvalue(), True
    if plain:
        try:
            decode_plain(bytearray(content))
        except RuntimeError:
            plain = False  # unlike the fast decoder, Pillow accepts a JPEG without its last bytes
    width, height = pixels.size
    box = test_box(height, width, VIEW)
    view = pixels.resize((VIEW, VIEW), Image.Resampling.BILINEAR, box=box)
    return content, width, height, plain, np.array(view.histogram(), np.int64).reshape(3, 256)
