"""Archives that were damaged, changed or made to do harm: refused in one line, and nothing is unpacked."""

import hashlib
import io
import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from tests.archives import TRAINED, flipped, rewritten

from bnonly.errors import UserError
from bnonly.results import archive


def flip(name):
    return lambda n, content: flipped(content) if n == name else content


def cut(name):
    return lambda n, content: content[:-9] if n == name else content


def drop(name):
    return lambda n, content: None if n == name else content


def swap(name, other):
    """One cell's file in the place of another's."""
    return lambda n, content: other if n == name else content


def link(name="results/link"):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def packed(name, content=None, how=zipfile.ZIP_DEFLATED):
    """A compressed member's head, or with its content the way to put it into an archive."""
    info = zipfile.ZipInfo(name)
    info.compress_type = how
    return info if content is None else (info, content)


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def manifest_with(**changes):
    """The manifest with other values."""
    return lambda n, content: json.dumps(json.loads(content) | changes).encode() if n == "manifest.json" else content


NO_MANIFEST = "its manifest.json is not what bnonly export writes"
METRICS = f"{TRAINED}/metrics.parquet"


@pytest.mark.parametrize(
    ("change", "more", "sums", "message"),
    [
        (flip(METRICS), (), False, f"{METRICS} has the wrong checksum: the archive was damaged or changed"),
        (flip("manifest.json"), (), False, "manifest.json has the wrong checksum"),
        # Whoever changes a file and its checksum still meets the file's own.
        (cut(METRICS), (), True, "ResNet-8-c4/bn/seed0/metrics.parquet damaged or half-written"),
        (flip(f"{TRAINED}/weights.safetensors"), (), True, "ResNet-8-c4/bn/seed0/weights.safetensors damaged"),
        (drop(METRICS), (), False, f"is incomplete: {METRICS} is not in it"),
        (drop(METRICS), (), True, f"is incomplete: {METRICS} is not in it"),
        (drop("manifest.json"), (), True, "has no manifest.json"),
        (swap("manifest.json", b"[]"), (), True, "its manifest.json is not what bnonly export writes"),
        (
            swap("manifest.json", b'{"format": "bnonly-results-9"}'),
            (),
            True,
            "is of format 'bnonly-results-9', this version reads bnonly-results-1",
        ),
        (drop(""), [("results/new.txt", b"")], False, "results/new.txt is not in its SHA256SUMS"),
        (drop(""), [("results/new.txt", b"")], True, "has results/new.txt, which is no file of a run"),
        (drop(""), [("Snakefile", b"")], True, "has Snakefile, which is no file of a run"),
        (drop(""), [("../escaped", b"")], True, "has the member '../escaped', which could be unpacked elsewhere"),
        (drop(""), [("/tmp/escaped", b"")], True, "has the member '/tmp/escaped', which could be unpacked elsewhere"),
        (drop(""), [("published/../../escaped", b"")], True, "which could be unpacked elsewhere"),
        (drop(""), [("published\\..\\x", b"")], True, "which could be unpacked elsewhere"),
        (drop(""), [("C:/x", b"")], True, "which could be unpacked elsewhere"),
        (
            drop(""),
            [(link("published/link"), b"/etc/passwd")],
            True,
            "has the member 'published/link', which could be unpacked elsewhere",
        ),
        (drop(""), [("published/folder/", b"")], True, "which could be unpacked elsewhere"),
        # Nothing is read before its size is known to be what such a file has.
        (
            drop(""),
            [(packed("published/figures/fig06.csv"), bytes(30_000_000))],
            True,
            "which is too large for a file of a run",
        ),
        (
            swap("manifest.json", packed("manifest.json", bytes(30_000_000))),
            (),
            True,
            "which is too large for a file of a run",
        ),
        (
            drop("SHA256SUMS"),
            [(packed("published/figures/a.png"), bytes(30_000_000))],
            True,
            "which is too large for a file of a run",
        ),
        (drop(""), [(packed("published/figures/a.csv", how=zipfile.ZIP_LZMA), b"x")], True, "cannot be read"),
        # What a manifest may hold.
        (manifest_with(cells=[]), (), True, NO_MANIFEST),
        (manifest_with(cells={TRAINED: 1}), (), True, NO_MANIFEST),
        (manifest_with(left_out=[]), (), True, NO_MANIFEST),
        (manifest_with(left_out={"weights": 3}), (), True, NO_MANIFEST),
        (manifest_with(configuration="x"), (), True, NO_MANIFEST),
        (manifest_with(format=["x"] * 1000), (), True, "is of format \"['x', 'x'"),
        (swap("manifest.json", b'{"a":' * 100_000), (), True, NO_MANIFEST),
        (swap("manifest.json", b'{"format": "bnonly-results-1", "cells": %s}' % (b"9" * 5000)), (), True, NO_MANIFEST),
        (manifest_with(configuration=nested(100)), (), True, NO_MANIFEST),
        # One folder a cell.
        (manifest_with(cells={TRAINED.replace("seed0", "seed00"): "0"}), (), True, "which is no"),
        (manifest_with(cells={TRAINED.replace("seed0", "seed\u0660"): "0"}), (), True, "which is no"),
        (manifest_with(cells={TRAINED.replace("seed0", "seed0\n"): "0"}), (), True, "which is no"),
        (drop(""), [("published/run.sh", b"")], True, "has published/run.sh, which is no file of a run"),
        (
            drop(""),
            [("published/figures/a/b.png", b"")],
            True,
            "has published/figures/a/b.png, which is no file of a run",
        ),
    ],
)
def test_a_changed_archive_is_refused_and_nothing_is_unpacked(made, call, tmp_path, change, more, sums, message):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", change, more, sums)
    status, _, err = call("import", bad)
    assert status == 2 and message in err and err.startswith(f"bnonly: error: {bad}: ") and err.count("\n") == 1
    assert list(Path().rglob("*")) == [] and not (tmp_path / "escaped").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(made, call, tmp_path):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", more=[(METRICS, b"other")])
    assert f"has {METRICS} twice" in call("import", bad)[2]


def test_another_cells_file_is_refused(made, call, tmp_path, monkeypatch):
    monkeypatch.chdir("..")  # a run's folder given with -C
    content = (made / "results/ResNet-14-c4/bn/seed0/metrics.parquet").read_bytes()
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", swap(METRICS, content))
    assert "ResNet-8-c4/bn/seed0/metrics.parquet was made with another configuration" in call("import", bad)[2]
    assert list(Path().rglob("*")) == []


def test_counts_that_are_no_table_are_refused(made, call, tmp_path):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", swap("results/counts.csv", b"hello\nworld\n"))
    assert "bad.zip: results/counts.csv is not a table of parameter counts; get it again" in call("import", bad)[2]
    assert list(Path().rglob("*")) == []


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_half_a_download_is_refused(made, call, tmp_path, keep):
    whole = (made / "all.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: int(len(whole) * keep)])
    status, _, err = call("import", tmp_path / "half.zip")
    assert status == 2 and "half.zip: is not a complete zip archive" in err and err.count("\n") == 1


def test_what_is_no_archive_or_of_another_checksum(made, call, tmp_path):
    assert "absent.zip: no such file" in call("import", tmp_path / "absent.zip")[2]
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as other:
        other.writestr("hello.txt", "hello")
    assert "has no SHA256SUMS, so it was not made by bnonly export" in call("import", tmp_path / "foreign.zip")[2]
    assert "its SHA-256 is " in call("import", made / "all.zip", "--sha256", "0" * 64)[2]


def test_an_encrypted_member_is_refused(made, tmp_path):
    content = bytearray((made / "all.zip").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        start = packed.start_dir
    content[start + 8] |= 1
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        archive.Archive(tmp_path / "bad.zip")


def test_members_that_overlap_are_refused(made, tmp_path):
    """One compressed kernel that a thousand members point to (a zip bomb by overlap)."""
    content = b"x" * 900_000
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as one:
        one.writestr("published/figures/a.png", content)
        first = one.infolist()[0]
        for number in range(100):
            info = zipfile.ZipInfo(f"published/figures/a{number}.png")
            info.compress_type, info.CRC = first.compress_type, first.CRC
            info.compress_size, info.file_size, info.header_offset = first.compress_size, first.file_size, 0
            one.filelist.append(info)
            one.NameToInfo[info.filename] = info
            one._didModify = True
    with pytest.raises(UserError, match="its members overlap|has no SHA256SUMS|is not a complete zip"):
        archive.Archive(tmp_path / "one.zip")


@pytest.mark.parametrize("stem", ["..", "a b", "\u2603"])
def test_the_name_of_an_archive_leads_nowhere(made, call, tmp_path, stem):
    shutil.copy(made / "all.zip", tmp_path / f"{stem}.zip")
    assert call("import", tmp_path / f"{stem}.zip")[0] == 0
    (folder,) = Path("published").iterdir()
    assert folder.name == hashlib.sha256((made / "all.zip").read_bytes()).hexdigest()[:16]


def test_a_name_that_the_disk_cannot_have_is_one_line(made, call, tmp_path):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", more=[(f"published/figures/{'a' * 300}.png", b"x")])
    status, _, err = call("import", bad)
    assert status == 2 and "cannot be written: File name too long" in err and err.count("\n") == 1
    assert list(Path().rglob("*")) == []
