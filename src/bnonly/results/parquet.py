"""The Parquet files of a cell: declared columns, written whole, read with checks.

Every file carries, under the key ``bnonly`` of its Parquet metadata, a JSON object with its kind, the cell's canonical
specification and digest; ``metrics`` also carries the provenance of the run.  A reader rejects a file that is damaged, of
another kind, or of another cell, and names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import bnonly
from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, differences
from bnonly.results import atomic

_KEY = b"bnonly"
_REMEDY = "delete it and run the same command again"
#: Increased when older readers would misread a file.  A new column does not count.
FORMAT = 1
#: Most rows of a table (the widest networks have about 100,000 channels) and most bytes of all columns, unpacked.
MOST_ROWS, MOST_BYTES = 2_000_000, 500_000_000
#: Longest name of a layer.
LONGEST_NAME = 1_000


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


SCHEMAS: dict[str, pa.Schema] = {
    # One row per epoch.  Losses are mean cross-entropies in nats; top1 and top5 are fractions; train_* is over the augmented
    # training images; lr is from the epoch's last iteration; seconds count training only.
    "metrics": _schema(
        epoch=pa.int32(),
        iteration=pa.int64(),
        lr=pa.float64(),
        train_loss=pa.float64(),
        train_top1=pa.float64(),
        test_loss=pa.float64(),
        test_top1=pa.float64(),
        test_top5=pa.float64(),
        images_per_second=pa.float64(),
        seconds=pa.float64(),
    ),
    # One row per BatchNorm channel, layers in the order of the forward definition.
    "batchnorm": _schema(
        layer=pa.string(),
        layer_index=pa.int32(),
        channel=pa.int32(),
        gamma_start=pa.float32(),
        gamma_end=pa.float32(),
        beta_start=pa.float32(),
        beta_end=pa.float32(),
        mean_start=pa.float32(),
        mean_end=pa.float32(),
        variance_start=pa.float32(),
        variance_end=pa.float32(),
    ),
    # One row per threshold; threshold 0 is the unchanged network.
    "clamping": _schema(
        threshold=pa.float64(),
        gammas=pa.int64(),
        clamped=pa.int64(),
        test_loss=pa.float64(),
        test_top1=pa.float64(),
        test_top5=pa.float64(),
    ),
    # One row per ReLU channel; zero is the fraction of exact zeros over all test images and pixels.
    "activations": _schema(
        relu=pa.string(),
        relu_index=pa.int32(),
        channel=pa.int32(),
        zero=pa.float64(),
    ),
}


def write(
    path: Path, kind: str, columns: Mapping[str, Any], cell: Cell, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write one of a cell's Parquet files.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        A key of `SCHEMAS`.
    columns : mapping of str to array-like
        Exactly the schema's columns.
    cell : Cell
        The cell of the results.
    provenance : mapping, optional
        More metadata, as JSON.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    schema = SCHEMAS[kind]
    label = {"kind": kind, "format": FORMAT, "bnonly": bnonly.__version__, "digest": cell.digest()}
    label |= {"cell": json.loads(cell.canonical()), **(provenance or {})}
    table = pa.Table.from_arrays([_array(columns[f.name], f.type) for f in schema], schema=schema)
    label["sha256"] = _checksum(table, label)
    table = table.replace_schema_metadata({_KEY: json.dumps(label, sort_keys=True).encode()})
    with atomic.writing(path) as stream:
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)


def _checksum(table: pa.Table, label: Mapping[str, Any]) -> str:
    """Return a SHA-256 of a file's values and metadata: Parquet's own checksums cover neither headers nor footer."""
    total = hashlib.sha256(json.dumps({k: v for k, v in label.items() if k != "sha256"}, sort_keys=True).encode())
    for column in table.columns:
        for chunk in column.chunks:
            if pa.types.is_string(chunk.type):
                total.update("\0".join(chunk.to_pylist()).encode())
            else:
                total.update(chunk.to_numpy(zero_copy_only=True).tobytes())
    return total.hexdigest()


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    """Make a column without `pyarrow.array`, which imports pandas (0.7 s per cell) only to check for a Series."""
    if pa.types.is_string(kind):
        parts = [str(v).encode() for v in values]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int32)
        return pa.StringArray.from_buffers(len(parts), pa.py_buffer(offsets), pa.py_buffer(b"".join(parts)))
    numbers = np.ascontiguousarray(values, dtype=kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def read(path: Path, kind: str, digest: str | None = None, cell: Cell | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Read one of a cell's Parquet files, checked.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        A key of `SCHEMAS`.
    digest : str, optional
        Expected digest of the cell.
    cell : Cell, optional
        Expected cell, instead of its digest; the message then lists the differences.

    Returns
    -------
    table : pyarrow.Table
        The columns of the schema, without columns that later versions added.
    label : dict
        The metadata: kind, digest, cell and, for metrics, the provenance.

    Raises
    ------
    UserError
        If the file is absent, damaged, foreign or too large, or if it has another kind, a later format or another
        configuration.
    """
    # One block for all steps: a flipped bit in a name or text shows only when it is decoded.
    with _refusing(path):
        names = [field.name for field in SCHEMAS[kind] if pa.types.is_string(field.type)]
        with pq.ParquetFile(path, page_checksum_verification=True, memory_map=False, read_dictionary=names) as stream:
            label = _label(path, stream.schema_arrow)
            if label.get("kind") != kind:
                raise UserError(
                    f"{paths.shown(path)}: holds {str(label.get('kind', 'something else'))[:40]}, not {kind}; {_REMEDY}"
                )
            _check_size(stream.metadata)
            table = _checked(path, _plain(stream.read()), label)
        if not {(f.name, f.type) for f in SCHEMAS[kind]} <= {(f.name, f.type) for f in table.schema}:
            raise UserError(f"{paths.shown(path)}: lacks columns of {kind}; {_other_version(label)}")
        table = table.select(SCHEMAS[kind].names)
    check_cell(path, label, digest, cell)
    return table, label


def _check_size(about: Any) -> None:
    """Check sizes before values: a few bytes can encode a thousand million repeats of a value."""
    size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    if about.num_rows > MOST_ROWS or size > MOST_BYTES:
        raise ValueError(f"{about.num_rows:,} rows in {size:,} bytes are too many")


def _plain(table: pa.Table) -> pa.Table:
    """Decode columns of names, which are read as dictionaries to check the length of the names first."""
    for number, column in enumerate(table.columns):
        if column.null_count:
            raise ValueError("values are missing")
        if pa.types.is_dictionary(column.type):
            for chunk in column.chunks:
                if any(len(name.as_py() or "") > LONGEST_NAME for name in chunk.dictionary):
                    raise ValueError("a name in it is too long")
            table = table.set_column(
                number, pa.field(table.field(number).name, pa.string(), nullable=False), column.cast(pa.string())
            )
    return table


def _checked(path: Path, table: pa.Table, label: Mapping[str, Any]) -> pa.Table:
    found = label.get("format", 1)
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(
            f"{paths.shown(path)}: is of format {str(found)[:20]}, this version reads up to {FORMAT}; {_other_version(label)}"
        )
    if label.get("sha256") != _checksum(table, label):
        raise UserError(f"{paths.shown(path)}: damaged (wrong checksum); {_REMEDY}")
    return table


def _other_version(label: Mapping[str, Any]) -> str:
    """Return the remedy for a file of another version; its cached copy must go too, or it would come back."""
    version = label.get("bnonly") or dict(label.get("versions") or {}).get("bnonly")
    use = f"use bnonly {version}, which wrote it" if version else "use the bnonly that wrote it"
    return f"{use}, or delete it and {paths.finished(str(label.get('digest')))} and run the same command again"


def read_label(path: Path) -> dict[str, Any]:
    """Read only the metadata of one of a cell's Parquet files.

    Raises
    ------
    UserError
        If the file is absent, damaged or foreign.
    """
    with _refusing(path):
        return _label(path, pq.read_schema(path))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn any error from an absent or damaged file into one line."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{paths.shown(path)}: is not a regular file; move it away and run the same command again")
        yield
    except FileNotFoundError:
        raise UserError(f"{paths.shown(path)}: no such file; train the cell first") from None
    except (PermissionError, IsADirectoryError) as problem:
        raise UserError(f"{paths.shown(path)}: cannot be read: {problem.strerror}") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        first = str(problem).strip().splitlines()[0][:120] if str(problem).strip() else type(problem).__name__
        raise UserError(f"{paths.shown(path)}: damaged or half-written ({first}); {_REMEDY}") from None


def _label(path: Path, schema: pa.Schema) -> dict[str, Any]:
    metadata = schema.metadata or {}
    if _KEY not in metadata:
        raise UserError(f"{paths.shown(path)}: was not written by bnonly; move it away and run the same command again")
    label = json.loads(metadata[_KEY])
    if not isinstance(label, dict):
        raise ValueError("its metadata is no mapping")
    return label


def check_cell(path: Path, label: Mapping[str, Any], digest: str | None, cell: Cell | None) -> None:
    """Reject a file from another configuration.

    Raises
    ------
    UserError
        With the file and, if the cell is given, the differences.
    """
    wanted = cell.digest() if cell else digest
    if wanted is None or label.get("digest") == wanted:
        return
    theirs = json.dumps(label.get("cell", {}), sort_keys=True, separators=(",", ":"))
    what = differences(cell.canonical(), theirs) if cell else f"cell {label.get('digest')}, not {wanted}"
    raise UserError(
        f"{paths.shown(path)}: was made with another configuration ({what}); run the workflow to train it again, or restore the configuration"
    )
