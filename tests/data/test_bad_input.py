"""Whatever is wrong with the data as distributed: one line that names it and the remedy, and nothing that looks prepared."""

import gzip
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data import sets
from tests.data.refused import SETS, check_refused
from tests.data.sets import CPU

from bnonly.console import Meter
from bnonly.data import archives, open_source, prepared
from bnonly.data.prepare import prepare
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS, DOWNLOADED

pytestmark = pytest.mark.usefixtures("small")


# CIFAR-10, as distributed


def test_archive_with_another_checksum(tmp_path, monkeypatch):
    path = sets.archive(tmp_path / "set", monkeypatch)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    check_refused("cifar10", path, tmp_path / "data", path, "MD5", "fetch it again")


def test_truncated_archive(tmp_path, monkeypatch):
    path = sets.archive(tmp_path / "set", monkeypatch)
    path.write_bytes(path.read_bytes()[:2000])
    check_refused("cifar10", path, tmp_path / "data", path, "truncated")


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_missing_batch(name, tmp_path, monkeypatch):
    source = sets.batches(tmp_path / "set", monkeypatch)
    (source / "cifar-10-batches-py" / name).unlink()
    check_refused("cifar10", source, tmp_path / "data", source, f"batch {name} is missing")


def test_damaged_batch(tmp_path, monkeypatch):
    source = sets.batches(tmp_path / "set", monkeypatch)
    path = source / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-5])
    check_refused("cifar10", source, tmp_path / "data", "batch data_batch_2 is damaged", "MD5")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({b"data": np.zeros((8, 3072), np.uint8), b"labels": [0] * 7 + [10]}, ["label 10 of image 7", "out of range"]),
        ({b"data": np.zeros((8, 3072), np.uint8), b"labels": [0] * 7}, ["8 images and 7 labels"]),
        ({b"data": np.zeros((8, 100), np.uint8), b"labels": [0] * 8}, ["not a file of CIFAR-10"]),
        ({b"labels": [0] * 8}, ["not a file of CIFAR-10"]),
    ],
    ids=["label", "count", "shape", "no data"],
)
def test_batch_with_wrong_content(content, words, tmp_path, monkeypatch):
    source = sets.batches(tmp_path / "set", monkeypatch)
    path = source / "cifar-10-batches-py" / "data_batch_4"
    sets.write_batch(path, content)
    sets.declare(monkeypatch, "cifar10", path)
    check_refused("cifar10", source, tmp_path / "data", "data_batch_4", *words)


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("sys", "dtype")])
def test_batch_that_would_run_a_command(module, name, tmp_path, monkeypatch):
    source = sets.batches(tmp_path / "set", monkeypatch)
    path = source / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(f"c{module}\n{name}\n(S'touch {tmp_path / 'ran'}'\ntR.".encode())
    sets.declare(monkeypatch, "cifar10", path)
    check_refused("cifar10", source, tmp_path / "data", "data_batch_1", f"{module}.{name}")
    assert not (tmp_path / "ran").exists()


def test_truncated_parquet(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    path = source / "train.parquet"
    path.write_bytes(path.read_bytes()[:3000])
    check_refused("cifar10", source, tmp_path / "data", path, "truncated or not a Parquet file")


def test_missing_part_of_the_parquet(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    (source / "test.parquet").unlink()
    check_refused("cifar10", source, tmp_path / "data", "no test*.parquet")


def test_parquet_without_the_columns(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    table = pq.read_table(source / "train.parquet").rename_columns(["picture", "label"])
    pq.write_table(table, source / "train.parquet")
    words = "must have columns img or image (with bytes) and label (has picture, label)"
    check_refused("cifar10", source, tmp_path / "data", words)


@pytest.mark.parametrize("label", [10, -1, None])
def test_parquet_with_a_wrong_label(label, tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    rows = pq.read_table(source / "train.parquet").to_pylist()
    rows[13]["label"] = label
    pq.write_table(pa.Table.from_pylist(rows), source / "train.parquet")
    words = ["row 13 has no label"] if label is None else [f"label {label} of image 13", "0 to 9"]
    check_refused("cifar10", source, tmp_path / "data", source / "train.parquet", *words)


def test_parquet_with_a_label_of_64_bits(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    table = pq.read_table(source / "train.parquet")
    labels = pa.array([*table["label"].to_pylist()[:-1], 2**64 - 1], pa.uint64())
    pq.write_table(table.set_column(1, "label", labels), source / "train.parquet")
    check_refused("cifar10", source, tmp_path / "data", f"label {2**64 - 1} of image 49", "0 to 9")


@pytest.mark.parametrize("column", ["label", "fine_label"])
def test_parquet_with_labels_that_are_text(column, tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    table = pq.read_table(source / "train.parquet")
    pq.write_table(table.set_column(1, column, table["label"].cast(pa.string())), source / "train.parquet")
    words = f"column {column} must hold whole numbers (holds string)"
    check_refused("cifar10", source, tmp_path / "data", source / "train.parquet", words)


def test_parquet_whose_pages_do_not_have_their_checksum(tmp_path):
    source = sets.parquet(tmp_path / "set", "BMP")
    path = source / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    pixels = table["img"][3].as_py()["bytes"][-1000:]
    content[content.index(pixels) + 500] ^= 1
    path.write_bytes(content)
    check_refused("cifar10", source, tmp_path / "data", path, "CRC", "fetch the file again")


def damage_parquet(source, rows):
    table = pq.read_table(source / "train.parquet").to_pylist()
    for row in rows:
        table[row]["img"]["bytes"] = table[row]["img"]["bytes"][:60]
    pq.write_table(pa.Table.from_pylist(table), source / "train.parquet")


@pytest.mark.parametrize("name", ["cifar10", "cifar10-jpeg"])
def test_unreadable_images_in_parquet_are_named_and_counted(name, tmp_path):
    source = SETS[name](tmp_path / "set", None)
    damage_parquet(source, [3, 5, 7, 9])
    words = ["4 unreadable images", "train.parquet row 3", "row 7", "1 more", "--skip-unreadable"]
    check_refused(name, source, tmp_path / "data", *words)
    prepare(name, source, tmp_path / "data", skip_unreadable=True, quiet=True)
    opened = open_source(sets.recipe(name), tmp_path / "data", CPU)
    assert opened.train_images == 5 * sets.PER_BATCH - 4
    left_out = json.loads((tmp_path / "data" / name / "manifest.json").read_text())["left_out"]
    assert len(left_out) == 4 and not any(" at 0x" in text for text in left_out), "the same in every process"


def test_images_of_another_size(tmp_path, monkeypatch):
    monkeypatch.setattr("bnonly.data.cifar.SIDE", 16)
    check_refused("cifar10", sets.parquet(tmp_path / "set", "PNG"), tmp_path / "data", "32 x 32 pixels, not 16 x 16")


def test_jpeg_images_are_not_cifar10_and_lossless_ones_not_cifar10_jpeg(tmp_path):
    check_refused("cifar10", sets.parquet(tmp_path / "a", "JPEG"), tmp_path / "data", "prepare them as cifar10-jpeg")
    check_refused("cifar10-jpeg", sets.parquet(tmp_path / "b", "PNG"), tmp_path / "data", "prepare them as cifar10")


def test_class_of_which_no_image_can_be_read(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    damage_parquet(source, range(4, 50, 10))
    with pytest.raises(UserError, match="class deer has no training images"):
        prepare("cifar10", source, tmp_path / "data", skip_unreadable=True, quiet=True)


def test_too_few_images(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    pq.write_table(pq.read_table(source / "train.parquet").slice(0, 40), source / "train.parquet")
    check_refused("cifar10", source, tmp_path / "data", source, "40 training images, cifar10 has 50")


# Photographs, as distributed


def test_missing_class_folder(tmp_path):
    source = sets.folder_set(tmp_path / "set")
    shutil.rmtree(source / "val" / "n02")
    check_refused("imagenet", source, tmp_path / "data", source, "val/n02 is missing")


def test_class_missing_in_both_parts(tmp_path):
    source = sets.folder_set(tmp_path / "set")
    for part in ("train", "val"):
        shutil.rmtree(source / part / "n02")
    check_refused("imagenet", source, tmp_path / "data", "2 classes, imagenet has 3")


@pytest.mark.parametrize("part", ["train", "val"])
def test_empty_class_folder(part, tmp_path):
    source = sets.folder_set(tmp_path / "set")
    for image in (source / part / "n03").iterdir():
        image.unlink()
    check_refused("imagenet", source, tmp_path / "data", f"{part}/n03 has no images")


def test_missing_image(tmp_path):
    source = sets.folder_set(tmp_path / "set")
    next((source / "train" / "n03").iterdir()).unlink()
    check_refused("imagenet", source, tmp_path / "data", "11 training images, imagenet has 12")


@pytest.mark.parametrize("tarred", [False, True])
def test_flat_validation_images(tarred, tmp_path):
    source = sets.folder_set(tmp_path / "set")
    for image in (source / "val").glob("*/*"):
        image.rename(source / "val" / image.name)
    if tarred:
        source = shutil.make_archive(str(tmp_path / "flat"), "tar", source)
    check_refused("imagenet", Path(source), tmp_path / "data", "val holds images without class folders", "devkit")


@pytest.mark.parametrize("name", SETS)
def test_empty_source_folder(name, tmp_path):
    (tmp_path / "set").mkdir()
    check_refused(name, tmp_path / "set", tmp_path / "data", tmp_path / "set")


@pytest.mark.parametrize("name", SETS)
def test_source_that_is_not_there(name, tmp_path):
    check_refused(name, tmp_path / "nowhere", tmp_path / "data", tmp_path / "nowhere", "no such file or folder")


def test_truncated_tar(tmp_path):
    path = sets.tar_set(tmp_path / "set")
    path.write_bytes(path.read_bytes()[:-30_000])
    check_refused("imagenet", path, tmp_path / "data", path)


def test_tar_with_a_damaged_header(tmp_path):
    path = sets.tar_set(tmp_path / "set")
    with tarfile.open(path) as tar:
        place = tar.getmember("some-name/val").offset
    content = bytearray(path.read_bytes())
    content[place + 150] ^= 1
    path.write_bytes(content)
    check_refused("imagenet", path, tmp_path / "data", path, "truncated", f"at byte {place:,}", "fetch it again")


def test_compressed_tar(tmp_path):
    path = sets.tar_set(tmp_path / "set")
    path.write_bytes(gzip.compress(path.read_bytes()))
    check_refused("imagenet", path, tmp_path / "data", "is compressed; decompress it first")


def test_official_archive_with_another_checksum(tmp_path, monkeypatch):
    source = sets.official_set(tmp_path, monkeypatch)
    path = source / "ILSVRC2012_img_val.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    check_refused("imagenet", source, tmp_path / "data", path, "MD5")


def test_missing_development_kit(tmp_path, monkeypatch):
    source = sets.official_set(tmp_path, monkeypatch)
    (source / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    check_refused("imagenet", source, tmp_path / "data", "ILSVRC2012_devkit_t12.tar.gz: no such file")


def test_unreadable_photographs_are_named_and_counted_until_they_are_replaced(tmp_path):
    source = sets.folder_set(tmp_path / "set")
    bad = [*sorted((source / "train" / "n03").iterdir())[:2], sorted((source / "val" / "n01").iterdir())[0]]
    good = [path.read_bytes() for path in bad]
    bad[2].write_bytes(good[2][:-200])  # the header is whole
    bad[1].write_bytes(bytes(len(good[1])))  # replaced by one of the same size later
    bad[0].write_bytes(b"<html>")
    words = ["3 unreadable images", f"train/n03/{bad[0].name}", f"train/n03/{bad[1].name}", f"val/n01/{bad[2].name}"]
    check_refused("imagenet", source, tmp_path / "data", *words)
    prepare("imagenet", source, tmp_path / "skipped", skip_unreadable=True, quiet=True)
    opened = open_source(sets.recipe("imagenet"), tmp_path / "skipped", CPU)
    assert (opened.train_images, opened.test_images) == (10, 5)
    assert len(list(opened.train_batches(0, 0, 4))) == 3
    for path, content in zip(bad, good, strict=True):
        path.write_bytes(content)
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    assert open_source(sets.recipe("imagenet"), tmp_path / "data", CPU).train_images == 12


def test_unreadable_photographs_may_be_left_out_beside_files_that_are_none(tmp_path):
    """The images that are missing are the unreadable ones; a note among them was never counted."""
    source = sets.folder_set(tmp_path / "set")
    min((source / "train" / "n03").iterdir()).write_bytes(b"<html>")
    (source / "train" / "n03" / "notes.txt").write_text("taken in May")
    prepare("imagenet", source, tmp_path / "data", skip_unreadable=True, quiet=True)
    assert open_source(sets.recipe("imagenet"), tmp_path / "data", CPU).train_images == 11


def test_class_of_which_no_validation_image_can_be_read(tmp_path):
    source = sets.folder_set(tmp_path / "set")
    for image in (source / "val" / "n02").iterdir():
        image.write_bytes(b"<html>")
    check_refused(
        "imagenet", source, tmp_path / "data", "class n02 has no test images", "replace", skip_unreadable=True
    )


# Names and the command line


def test_unknown_data_set(tmp_path):
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        prepare("cifar-10", None, tmp_path, quiet=True)


def test_installed_data_set_needs_no_preparation(tmp_path):
    assert "nothing to prepare" in prepare("digits", None, tmp_path, quiet=True)


def test_imagenet_without_a_source(tmp_path):
    check_refused("imagenet", None, tmp_path / "data", "fetch it by hand", "--from PATH", "BNONLY_SOURCES")


def test_the_command_line_says_it_in_one_line(bnonly, tmp_path):
    done = bnonly("prepare", "cifar10", "--from", tmp_path / "nowhere", "--data", tmp_path / "data")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        f"bnonly: error: {tmp_path / 'nowhere'}: no such file or folder; --from names the data set as it is distributed"
    ]


def test_a_number_of_threads_that_is_none(bnonly, tmp_path):
    done = bnonly("prepare", "cifar10", "--workers", "-3", "--data", tmp_path)
    assert done.returncode == 2 and "must be a whole number of at least 1 (got -3)" in done.stderr


def test_progress_is_cleared_before_what_follows(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with pytest.raises(UserError), Meter("preparing", 10) as meter:
        monkeypatch.setattr("time.monotonic", lambda: float("inf"))
        meter.add(1)
        raise UserError("full")
    assert "1 of 10 images" in (said := capsys.readouterr().err) and said.endswith("\r\x1b[K")


def test_the_table_of_archives_is_complete():
    for row in archives.table().values():
        assert row.dataset in DATASETS and len(row.md5) == 32
        # SVHN is published without encryption; its MD5 is checked like that of the others.
        assert all(m.startswith("http://" if row.dataset == "svhn" else "https://") for m in row.mirrors)
    assert [name for name in DATASETS if archives.downloads(name)] == list(DOWNLOADED) and prepared.FORMAT == 2
