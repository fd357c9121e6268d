"""Find, check and read images in Parquet files, as Hugging Face publishes data sets, in pieces of bounded size.

A file holds a column of structs with ``bytes`` and ``path``, called ``img`` or ``image``, and a column ``label``
(CIFAR-100: ``fine_label``) of whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bnonly.errors import UserError

#: Prefixes of a part's files and folders.
PARTS = {"train": ("train",), "test": ("test", "validation", "val")}
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
#: Encoded images hardly compress.  Pages with a higher ratio are damaged, or made to fill the memory.
MOST_EXPANSION = 20
#: Largest accepted size in bytes of an encoded image.
MOST_BYTES = 64 << 20
ROWS = 16


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns, and of its classes if the file has them."""

    image: str
    label: str
    classes: list[str]


def find(source: Path, parts: tuple[str, ...] = ("train", "test")) -> dict[str, list[Path]]:
    """Return the Parquet files of each part; empty if there are none.

    They may lie in `source` or up to two folders down, as ``train-00000-of-00005.parquet`` or as ``train/0000.parquet``.

    Raises
    ------
    UserError
        If no folder has every part, or two folders do.
    """
    if not source.is_dir():
        return {}
    folders = [source, *sorted(p for pattern in ("*/", "*/*/") for p in source.glob(pattern) if p.is_dir())]
    found = {folder: files for folder in folders if any((files := {p: _files(folder, p) for p in parts}).values())}
    whole = [folder for folder, files in found.items() if all(files.values())]
    if len(whole) > 1:
        raise UserError(
            f"{source}: {whole[0].name} and {whole[1].name} both have all parts; name one of them with --from"
        )
    if whole:
        return found[whole[0]]
    for folder, files in found.items():
        missing = " and ".join(f"{PARTS[p][0]}*.parquet" for p in parts if not files[p])
        there = " and ".join(f"{files[p][0].name}" for p in parts if files[p])
        raise UserError(f"{folder}: has {there} and no {missing}; fetch the missing part")
    return {}


def _files(folder: Path, part: str) -> list[Path]:
    for name in PARTS[part]:
        if files := sorted(folder.glob(f"{name}*.parquet")) or sorted(folder.glob(f"{name}/*.parquet")):
            return files
    return []


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file; any error of Parquet inside the block becomes one line.

    Raises
    ------
    UserError
        Naming the file.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as problem:
        first = str(problem).strip().splitlines()[0][:120]
        raise UserError(f"{path}: truncated or not a Parquet file ({first}); fetch the file again") from None


def columns(path: Path, file: pq.ParquetFile) -> Columns:
    """Check a file's schema and sizes before its content is read.

    Raises
    ------
    UserError
        If a column is missing, or pages expand more than encoded images can.
    """
    schema = file.schema_arrow
    image, label = (next((n for n in known if n in schema.names), "") for known in (IMAGE_COLUMNS, LABEL_COLUMNS))
    kind = schema.field(image).type if image else pa.null()
    if not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and label):
        raise UserError(
            f"{path}: must have columns img or image (with bytes) and label (has {', '.join(schema.names)})"
        )
    if not pa.types.is_integer(schema.field(label).type):
        raise UserError(f"{path}: column {label} must hold whole numbers (holds {schema.field(label).type})")
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            part = file.metadata.row_group(group).column(number)
            if part.total_uncompressed_size > MOST_EXPANSION * part.total_compressed_size + (1 << 24):
                raise UserError(
                    f"{path}: column {part.path_in_schema} expands from {part.total_compressed_size:,} to "
                    f"{part.total_uncompressed_size:,} bytes, which is too much for images; fetch the file again"
                )
    return Columns(image, label, _class_names(schema, label))


def _class_names(schema: pa.Schema, label: str) -> list[str]:
    """Return the class names that Hugging Face's `datasets` stores in a schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def rows(path: Path) -> Iterator[tuple[bytes | None, int | None]]:
    """Yield image and label of every row."""
    with opened(path) as file:
        names = columns(path, file)
        for batch in file.iter_batches(batch_size=ROWS, columns=[f"{names.image}.bytes", names.label]):
            yield from zip(_contents(path, batch[names.image]), batch[names.label].to_pylist(), strict=True)


def labels(path: Path) -> tuple[list[int | None], list[int], Columns]:
    """Return every row's label, the row groups' lengths, and the columns, without reading an image."""
    with opened(path) as file:
        found = columns(path, file)
        groups = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        return file.read(columns=[found.label])[found.label].to_pylist(), groups, found


def row_group(path: Path, group: int) -> list[bytes | None]:
    """Return the images of a row group."""
    with opened(path) as file:
        image = columns(path, file).image
        found: list[bytes | None] = []
        for batch in file.iter_batches(batch_size=ROWS, row_groups=[group], columns=[f"{image}.bytes"]):
            found += _contents(path, batch[image])
        return found


def _contents(path: Path, images: pa.StructArray) -> list[bytes | None]:
    content = images.field("bytes")
    if not (pa.types.is_binary(content.type) or pa.types.is_large_binary(content.type)):
        raise UserError(f"{path}: bytes of the images must be binary (are {content.type})")
    largest = pc.max(pc.binary_length(content)).as_py() or 0
    if largest > MOST_BYTES:
        raise UserError(f"{path}: an image takes {largest:,} bytes; at most {MOST_BYTES:,} are read")
    return list(content.to_pylist())
