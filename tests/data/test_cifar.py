"""CIFAR-10 from every layout in which it is distributed."""

import dataclasses
import io
import json
import socketserver
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from tests.data import sets
from tests.data.sets import CPU

from bnonly.data import archives, open_source
from bnonly.data.prepare import prepare
from bnonly.data.prepared import open_arrays
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

pytestmark = pytest.mark.usefixtures("small")

LAYOUTS = {
    "archive": sets.archive,
    "folder with archive": lambda f, m: sets.archive(f, m).parent,
    "batches": sets.batches,
    "batches themselves": lambda f, m: sets.batches(f, m) / "cifar-10-batches-py",
    "parquet": lambda f, m: sets.parquet(f / "set", "PNG"),
    "parquet one folder down": lambda f, m: sets.parquet(f / "set" / "plain_text", "PNG").parent,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_images_and_labels(layout, tmp_path, monkeypatch):
    source = LAYOUTS[layout](tmp_path / "source", monkeypatch)
    prepare("cifar10", source, tmp_path / "data", quiet=True)
    arrays, manifest = open_arrays(DATASETS["cifar10"], tmp_path / "data")
    images, labels = sets.pixels()
    n = 5 * sets.PER_BATCH
    for part, rows in (("train", slice(0, n)), ("test", slice(n, None))):
        np.testing.assert_array_equal(arrays[f"{part}_images"], images[rows])
        np.testing.assert_array_equal(arrays[f"{part}_labels"], labels[rows])
    pixels = images[:n].astype(float) / 255
    np.testing.assert_allclose(manifest.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(manifest.std, pixels.std((0, 1, 2)), rtol=1e-12)
    assert manifest.train_per_class == np.bincount(labels[:n], minlength=10).tolist()


def test_the_layout_does_not_change_the_checksum(tmp_path, monkeypatch):
    prepare("cifar10", sets.batches(tmp_path / "a", monkeypatch), tmp_path / "data-a", quiet=True)
    prepare("cifar10", sets.parquet(tmp_path / "b", "PNG"), tmp_path / "data-b", quiet=True)
    one, two = (open_source(sets.recipe("cifar10"), tmp_path / d, CPU) for d in ("data-a", "data-b"))
    assert one.checksum == two.checksum
    assert one.train_images == 5 * sets.PER_BATCH and one.test_images == sets.PER_BATCH and one.classes == 10


def test_jpeg_images_are_a_data_set_of_their_own(tmp_path):
    source = sets.parquet(tmp_path / "set", "JPEG")
    prepare("cifar10-jpeg", source, tmp_path / "data", quiet=True)
    arrays, manifest = open_arrays(DATASETS["cifar10-jpeg"], tmp_path / "data")
    first = np.asarray(Image.open(io.BytesIO(sets.encode(sets.pixels()[0][0], "JPEG"))))
    np.testing.assert_array_equal(arrays["train_images"][0], first)
    assert "JPEG" in manifest.stored


def test_preparing_again_changes_nothing_and_preparing_anew_gives_the_same_bytes(tmp_path):
    source = sets.parquet(tmp_path / "set", "PNG")
    prepare("cifar10", source, tmp_path / "a", quiet=True)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a" / "cifar10").iterdir()}
    assert "already prepared" in prepare("cifar10", source, tmp_path / "a", quiet=True)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a" / "cifar10").iterdir()}
    prepare("cifar10", source, tmp_path / "b", quiet=True)
    for path in (tmp_path / "a" / "cifar10").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "cifar10" / path.name).read_bytes()
    assert json.loads((tmp_path / "a" / "cifar10" / "manifest.json").read_text())["source"]["layout"] == "Parquet"


def test_sources_folder_is_looked_into(tmp_path, monkeypatch):
    sets.parquet(tmp_path / "originals" / "cifar10", "PNG")
    monkeypatch.setenv("BNONLY_SOURCES", str(tmp_path / "originals"))
    assert "50 training and 10 test images" in prepare("cifar10", None, tmp_path / "data", quiet=True)


@pytest.fixture
def served(tmp_path):
    """A folder, and its address on a server of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "net"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "net", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_goes_on_to_the_next_mirror_and_cleans_up(served, tmp_path, monkeypatch):
    folder, address = served
    path = sets.archive(folder, monkeypatch)
    (folder / "bad").mkdir()
    (folder / "bad" / path.name).write_bytes(b"an error page")
    row = archives.known("cifar10", path.name)
    mirrors = tuple(f"{address}/{where}{path.name}" for where in ("none/", "bad/", ""))
    monkeypatch.setitem(archives.table(), ("cifar10", path.name), dataclasses.replace(row, mirrors=mirrors))
    prepare("cifar10", None, tmp_path / "data", quiet=True)
    names = {p.name for p in (tmp_path / "data" / "cifar10").iterdir()}
    assert "manifest.json" in names and ".download" not in names


class Broken(socketserver.BaseRequestHandler):
    """A mirror or a proxy whose answer is no HTTP, or is cut short."""

    answers = (b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this")

    def handle(self):
        number = int(self.request.recv(1000).split()[1][1:2])
        self.request.sendall(self.answers[number])


def test_mirrors_that_answer_nonsense_are_passed_over(served, tmp_path, monkeypatch):
    folder, address = served
    path = sets.archive(folder, monkeypatch)
    row = archives.known("cifar10", path.name)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bad = [f"http://127.0.0.1:{server.server_address[1]}/{n}/{path.name}" for n in (0, 1)]
        for mirrors in (bad, [*bad, f"{address}/{path.name}"]):
            changed = dataclasses.replace(row, mirrors=tuple(mirrors))
            monkeypatch.setitem(archives.table(), ("cifar10", path.name), changed)
            if mirrors == bad:
                with pytest.raises(UserError, match="cannot be fetched from 2 mirrors"):
                    prepare("cifar10", None, tmp_path / "data", quiet=True)
                assert not [p for p in (tmp_path / "data" / "cifar10").rglob("*") if p.is_file()]
            else:
                assert "50 training" in prepare("cifar10", None, tmp_path / "data", quiet=True)
        server.shutdown()


def test_without_a_network_one_line_says_what_to_do(served, tmp_path, monkeypatch):
    folder, address = served
    folder.mkdir()
    row = archives.known("cifar10", "cifar-10-python.tar.gz")
    (folder / row.file).write_bytes(b"an error page")
    broken = dataclasses.replace(row, mirrors=("http://127.0.0.1:9/closed", f"{address}/{row.file}"))
    monkeypatch.setitem(archives.table(), ("cifar10", row.file), broken)
    with pytest.raises(UserError, match="into a folder, then run: bnonly prepare cifar10 --from FOLDER"):
        prepare("cifar10", None, tmp_path / "data", quiet=True)
    assert not [path for path in (tmp_path / "data" / "cifar10").rglob("*") if path.is_file()]
