"""CIFAR-100 and SVHN in the layouts in which they are distributed."""

import dataclasses
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat
from tests.data import sets

from bnonly.data import archives, cifar
from bnonly.data.prepare import prepare
from bnonly.data.prepared import open_arrays
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

TRAIN, TEST = 100, 100
PARTS = {"train": slice(0, TRAIN), "test": slice(TRAIN, None)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.delenv("BNONLY_SOURCES", raising=False)
    for name in ("cifar100", "svhn"):
        changed = dataclasses.replace(DATASETS[name], train_images=TRAIN, test_images=TEST)
        monkeypatch.setitem(DATASETS, name, changed)


def content(name):
    """Every image and label, the training part first."""
    n = TRAIN + TEST
    images = np.random.default_rng(1).integers(0, 256, (n, 32, 32, 3), np.uint8)
    return images, np.arange(n) % DATASETS[name].classes


def pickles(folder, monkeypatch):
    images, labels = content("cifar100")
    target = folder / cifar.CIFAR100.folder
    target.mkdir(parents=True)
    for part, rows in PARTS.items():
        data = images[rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
        coarse = (labels[rows] // 5).tolist()
        sets.write_batch(
            target / part, {b"data": data, b"fine_labels": labels[rows].tolist(), b"coarse_labels": coarse}
        )
        sets.declare(monkeypatch, "cifar100", target / part)
    return folder


def archive(folder, monkeypatch):
    pickles(folder / "extracted", monkeypatch)
    path = folder / cifar.CIFAR100.archive
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "extracted" / cifar.CIFAR100.folder, cifar.CIFAR100.folder)
    sets.declare(monkeypatch, "cifar100", path)
    return path


def matlab(folder, monkeypatch):
    images, labels = content("svhn")
    folder.mkdir(parents=True)
    for part, rows in PARTS.items():
        path = folder / f"{part}_32x32.mat"
        y = np.where(labels[rows] == 0, 10, labels[rows]).astype(np.uint8)[:, None]
        savemat(path, {"X": images[rows].transpose(1, 2, 3, 0), "y": y})
        sets.declare(monkeypatch, "svhn", path)
    return folder


def parquet(name, folder, monkeypatch):
    """As Hugging Face publishes them."""
    images, labels = content(name)
    image, label, inner = (
        ("img", "fine_label", "cifar100") if name == "cifar100" else ("image", "label", "cropped_digits")
    )
    target = folder / inner
    target.mkdir(parents=True)
    for part, rows in PARTS.items():
        columns = {image: [{"bytes": sets.encode(i, "PNG"), "path": None} for i in images[rows]], label: labels[rows]}
        if name == "cifar100":
            columns["coarse_label"] = labels[rows] // 5
        pq.write_table(pa.table(columns), target / f"{part}-00000-of-00001.parquet")
    if name == "svhn":
        (target / "extra-00000-of-00002.parquet").write_bytes(b"never read")
    return folder


LAYOUTS = {
    ("cifar100", "archive"): archive,
    ("cifar100", "folder"): pickles,
    ("cifar100", "parquet"): partial(parquet, "cifar100"),
    ("svhn", "matlab"): matlab,
    ("svhn", "parquet"): partial(parquet, "svhn"),
}


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_layout_gives_the_images_and_labels(name, layout, tmp_path, monkeypatch):
    source = LAYOUTS[name, layout](tmp_path / "source", monkeypatch)
    assert "100 training and 100 test" in prepare(name, source, tmp_path / "data", quiet=True)
    arrays, manifest = open_arrays(DATASETS[name], tmp_path / "data")
    images, labels = content(name)
    for part, rows in PARTS.items():
        np.testing.assert_array_equal(arrays[f"{part}_images"], images[rows])
        np.testing.assert_array_equal(arrays[f"{part}_labels"], labels[rows])
    assert manifest.classes == DATASETS[name].classes == len(set(manifest.class_names))
    assert manifest.class_names == sorted(manifest.class_names)


@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_a_download_brings_every_file(name, tmp_path, monkeypatch):
    made = (
        archive(tmp_path / "served", monkeypatch).parent
        if name == "cifar100"
        else matlab(tmp_path / "served", monkeypatch)
    )

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=made))
    Thread(target=server.serve_forever, daemon=True).start()
    for row in archives.downloads(name):
        local = dataclasses.replace(row, mirrors=(f"http://127.0.0.1:{server.server_port}/{row.file}",))
        monkeypatch.setitem(archives.table(), (name, row.file), local)
    prepare(name, None, tmp_path / "data", quiet=True)
    server.shutdown()
    server.server_close()
    assert {p.name for p in (tmp_path / "data" / name).iterdir()} >= {"manifest.json", "train_images.u8"}
    assert not (tmp_path / "data" / name / ".download").exists()


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("cifar100", "train", "batch train is not a file of CIFAR-100"),
        ("svhn", "train_32x32.mat", "train_32x32.mat is not a file of SVHN"),
    ],
)
def test_a_file_of_other_content_is_refused(name, file, words, tmp_path, monkeypatch):
    source = pickles(tmp_path / "set", monkeypatch) if name == "cifar100" else matlab(tmp_path / "set", monkeypatch)
    (path,) = source.rglob(file)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="its MD5 is not the official one"):
        prepare(name, source, tmp_path / "data", quiet=True)
    sets.declare(monkeypatch, name, path)
    with pytest.raises(UserError, match=words) as caught:
        prepare(name, source, tmp_path / "data", quiet=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar100", "cifar-100-python.tar.gz, a folder cifar-100-python, or Parquet files"),
        ("svhn", "train_32x32.mat and test_32x32.mat, or Parquet files"),
    ],
)
def test_a_folder_of_something_else_says_what_is_accepted(name, words, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").touch()
    with pytest.raises(UserError, match=words):
        prepare(name, tmp_path / "set", tmp_path / "data", quiet=True)


def test_a_missing_part_of_svhn(tmp_path, monkeypatch):
    source = matlab(tmp_path / "set", monkeypatch)
    (source / "test_32x32.mat").unlink()
    with pytest.raises(UserError, match="test_32x32.mat is missing; fetch it again"):
        prepare("svhn", source, tmp_path / "data", quiet=True)


def test_the_class_names_are_those_of_the_official_list():
    """Hugging Face's feature and the archive's `meta` list CIFAR-100's classes in alphabetical order."""
    names = cifar.CIFAR100.class_names
    assert len(names) == 100 == len(set(names)) and names == sorted(names)
    assert (names[0], names[19], names[57], names[99]) == ("apple", "cattle", "pear", "worm")


def test_jpeg_under_the_name_of_cifar100_is_refused(tmp_path, monkeypatch):
    source = parquet("cifar100", tmp_path / "set", monkeypatch)
    path = next(source.rglob("train*.parquet"))
    rows = pq.read_table(path).to_pylist()
    rows[3]["img"]["bytes"] = sets.encode(content("cifar100")[0][3], "JPEG")
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(UserError, match="holds JPEG images, which have lost detail; fetch files of PNG images"):
        prepare("cifar100", source, tmp_path / "data", quiet=True)
    assert not (tmp_path / "data" / "cifar100" / "manifest.json").exists()
