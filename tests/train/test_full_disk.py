"""A disk that fills up at any write of a training; then there is space again, and the same command goes on."""

import errno
import os
import sys

import pytest
from tests.mini import mini, write
from tests.train.runs import results

from bnonly import paths
from bnonly.commands import cli
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.results import cache
from bnonly.train.options import Options
from bnonly.train.run import train_cell

CONFIG = mini(recipes__digits__epochs=1, recipes__digits__milestones=[], recipes__digits__batch_size=512)
CELL = resolve(CONFIG).cell("ResNet-8-c4", "all", 0)
FOLDER = CELL.key.folder


class Disk:
    """Counts the files that are written, and is full from one of them on.

    "bytes": the file can be made, and its bytes go to /dev/full, so that the error is the kernel's own, where Python meets it.
    "files": none can be made or linked.
    """

    def __init__(self, monkeypatch, lacks, full_from=1000, only=""):
        self.names, self._lacks, self._from, self._only = [], lacks, full_from, only
        self._open, self._fdopen, self._link = os.open, os.fdopen, os.link
        for name in ("open", "fdopen", "link"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def is_full(self, path):
        name = path.name
        if name.endswith(".tmp") and "." in name[1:-4]:  # .NAME.RANDOM.tmp
            name = name[1:-4].rpartition(".")[0]
        if self._only and name != self._only:
            return False
        self.names.append(name)
        return len(self.names) > self._from

    def open(self, path, flags, *more, **options):
        if self._lacks == "files" and flags & os.O_CREAT and self.is_full(paths.Path(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return self._open(path, flags, *more, **options)

    def link(self, source, target):
        if self._lacks == "files" and self.is_full(paths.Path(target)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)
        self._link(source, target)

    def fdopen(self, handle, *more, **options):
        if self._lacks == "bytes" and self.is_full(paths.Path(os.readlink(f"/proc/self/fd/{handle}"))):
            full = self._open("/dev/full", os.O_WRONLY)
            os.dup2(full, handle)
            os.close(full)
        return self._fdopen(handle, *more, **options)


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Run the command in a folder, on a disk; return its status, what it said, and the files that it wrote."""
    monkeypatch.chdir(tmp_path)
    config = write(tmp_path, CONFIG)

    def run(folder, *disk):
        with monkeypatch.context() as patch:
            made = Disk(patch, *disk) if disk else None
            how = ("--quiet", "--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0")
            status = cli.run(["--config", str(config), "-C", str(folder), "train", "ResNet-8-c4", "all", *how])
        return status, capsys.readouterr().err, made and made.names

    return run


@pytest.mark.parametrize("lacks", ["bytes", "files"])
def test_full_from_any_write_on(lacks, train, tmp_path):
    status, _, names = train(tmp_path / "whole", lacks)
    whole = results(tmp_path / "whole" / FOLDER)
    checkpoint = paths.checkpoint(FOLDER, CELL.digest()).name
    trained = ["batchnorm.parquet", "weights.safetensors", "metrics.parquet"]
    kept = [*(trained if lacks == "files" else []), "sha256.json"]
    assert status == 0
    lock = [".lock"] if lacks == "files" else []
    assert names == [*lock, ".owner", ".progress", *[checkpoint] * 2, ".progress", checkpoint, *trained, *kept]
    for count in range(len(names)):
        run = tmp_path / str(count)
        status, said, _ = train(run, lacks, count)
        needed = [n for n in names[count : len(names) - len(kept)] if n != ".progress"]
        if needed:
            space = "cannot be written: No space left on device"
            assert (status, said.count("\n")) == (2, 1)
            assert f"bnonly: error: {run / FOLDER / needed[0]}: {space}" in said
        else:  # the results are there, and only not kept a second time
            assert (status, said) == (0, "") and results(run / FOLDER) == whole
        left = {p.name for p in (run / FOLDER).iterdir()} - {".lock", ".progress", checkpoint, *trained}
        assert not left and not list((run / paths.RESULTS).rglob("*.tmp"))
        assert train(run)[:2] == (0, "")
        assert results(run / FOLDER) == whole
        assert cache.holds(CELL.digest())


def test_how_far_it_has_come_need_not_be_written(train, tmp_path):
    status, said, names = train(tmp_path / "run", "bytes", 0, ".progress")
    assert (status, said, len(names)) == (0, "", 2)
    assert paths.metrics(tmp_path / "run" / FOLDER).exists()


def test_nor_what_a_person_sees(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full := open("/dev/full", "w"))
        train_cell(CELL, tmp_path, Options(tmp_path, "cpu"))
    with pytest.raises(OSError, match="No space left on device"):
        full.close()
    assert paths.metrics(tmp_path).exists()


def test_half_a_copy_is_not_left_in_the_cache(tmp_path, monkeypatch):
    """Where the file system has no links, and no space."""

    def refuse(*arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def half(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics.parquet").write_bytes(b"whole")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(cache.shutil, "copyfile", half)
    kept = paths.finished(CELL.digest())
    with pytest.raises(UserError, match=f"^{kept}: cannot be written: No space left on device$"):
        cache.keep(CELL.digest(), [tmp_path / "metrics.parquet"])
    assert list(kept.iterdir()) == []
