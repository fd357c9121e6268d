"""Old and new files of a cell stay readable; what is too large or of a later format is refused in one line."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.mini import mini

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.results import cache, parquet
from bnonly.train import reservation

CELL = resolve(mini()).cell("ResNet-8-c4", "bn", 0)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def columns(kind, rows=3):
    return {f.name: ["a"] * rows if pa.types.is_string(f.type) else [0] * rows for f in parquet.SCHEMAS[kind]}


def rewrite(path, change=lambda table: table, **label):
    """Write a file again as another version would: with its own checksum."""
    table = pq.read_table(path)
    old = json.loads(table.schema.metadata[b"bnonly"])
    table = change(table)
    new = {k: v for k, v in {**old, **label}.items() if v is not None}
    new["sha256"] = parquet._checksum(table, new)
    pq.write_table(table.replace_schema_metadata({b"bnonly": json.dumps(new, sort_keys=True)}), path)


def one(kind="batchnorm"):
    path = CELL.key.folder / paths.PARQUET[kind]
    parquet.write(path, kind, columns(kind), CELL)
    return path


@pytest.mark.parametrize("kind", parquet.SCHEMAS)
def test_a_column_more_is_no_refusal(kind):
    path = one(kind)
    rewrite(path, lambda table: table.add_column(1, "new", pa.array([1.0] * table.num_rows)))
    assert parquet.read(path, kind, cell=CELL)[0].schema.names == parquet.SCHEMAS[kind].names


def test_a_file_from_before_formats_had_numbers_is_read():
    path = one()
    rewrite(path, format=None, bnonly=None)
    assert parquet.read(path, "batchnorm", cell=CELL)[0].num_rows == 3


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            {"format": 2, "bnonly": "0.9"},
            "is of format 2, this version reads up to 1; use bnonly 0.9, which wrote it, or delete it and",
        ),
        ({"format": 2, "bnonly": None, "versions": {"bnonly": "0.8"}}, "use bnonly 0.8, which wrote it"),
        ({"format": "two"}, "is of format two, this version reads up to 1"),
        ({"format": 2, "bnonly": None}, "use the bnonly that wrote it"),
    ],
)
def test_a_later_format_says_who_can_read_it(label, message):
    path = one()
    rewrite(path, **label)
    with pytest.raises(UserError, match=message) as problem:
        parquet.read(path, "batchnorm", cell=CELL)
    assert f"and {paths.finished(CELL.digest())} and run" in str(problem.value)


def test_a_missing_column_is_refused_with_the_remedy():
    path = one()
    rewrite(path, lambda table: table.drop_columns(["gamma_end"]))
    with pytest.raises(
        UserError, match="lacks columns of batchnorm; use bnonly .*, or delete it and results/.finished/"
    ):
        parquet.read(path, "batchnorm", cell=CELL)


def test_advice_leads_nowhere_twice():
    """What was kept of a file comes back when that is deleted: the message then names the folder it is kept in."""
    folder = CELL.key.folder
    for kind in ("batchnorm", "metrics"):
        rewrite(one(kind), format=2, bnonly="0.9")
    paths.weights(folder).write_bytes(b"")
    cache.keep(CELL.digest(), [folder / name for name in paths.TRAINED.values()])
    for name in paths.TRAINED.values():
        (folder / name).unlink()
    with pytest.raises(
        UserError,
        match=f"{paths.finished(CELL.digest())}: this version cannot read the cached files .*delete that folder",
    ):
        reservation._restored(CELL, folder)
    cache.forget(CELL.digest())
    assert not reservation._restored(CELL, folder) and not reservation.is_done(CELL, folder)


@pytest.mark.parametrize("bomb", ["rows", "names", "missing"])
def test_few_bytes_that_say_much_are_not_unpacked(bomb, monkeypatch):
    path = one("activations")
    if bomb == "rows":
        large = pa.table(
            {
                "relu": pa.array(["a"]).take(pa.array([0] * 3_000_000)),
                **{n: pa.nulls(3_000_000, pa.int32()).fill_null(0) for n in ("relu_index", "channel")},
                "zero": pa.nulls(3_000_000, pa.float64()).fill_null(0.0),
            }
        )
    else:
        large = pq.read_table(path)
        names = pa.array(["x" * 2_000] * 3) if bomb == "names" else pa.array(["a", None, "b"])
        large = large.set_column(0, "relu", names)
    rewrite(path, lambda table: large) if bomb != "missing" else pq.write_table(
        large.replace_schema_metadata(pq.read_schema(path).metadata), path
    )
    assert path.stat().st_size < 50_000
    with pytest.raises(UserError, match="damaged or half-written .*(too many|too long|missing)"):
        parquet.read(path, "activations", cell=CELL)


@pytest.mark.parametrize(
    "content", ["[]", "[" * 100_000, "{", '"x"', "9" * 5_000], ids=["list", "deep", "cut", "text", "digits"]
)
def test_metadata_that_are_no_mapping_are_damage(content):
    path = one()
    table = pq.read_table(path).replace_schema_metadata({b"bnonly": content.encode()})
    pq.write_table(table, path)
    for read in (lambda: parquet.read(path, "batchnorm"), lambda: parquet.read_label(path)):
        with pytest.raises(UserError, match="damaged or half-written"):
            read()


def test_values_that_no_number_has_are_kept():
    path = CELL.key.folder / "clamping.parquet"
    parquet.write(path, "clamping", columns("clamping") | {"test_loss": [math.nan, math.inf, 0.0]}, CELL)
    assert parquet.read(path, "clamping", cell=CELL)[0]["test_loss"].to_pylist()[1:] == [math.inf, 0.0]
