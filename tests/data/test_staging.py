"""Copies of prepared data on a fast disk of the machine."""

import itertools

import pytest
from tests.data import sets
from tests.data.sets import CPU

from bnonly.data import open_source, prepared
from bnonly.data.prepare import prepare
from bnonly.errors import UserError

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("BNONLY_SCRATCH", str(folder))
    return folder


@pytest.fixture(params=["cifar10", "imagenet"])
def made(request, tmp_path, small):
    source = sets.parquet(tmp_path / "set", "PNG") if request.param == "cifar10" else sets.folder_set(tmp_path / "set")
    prepare(request.param, source, tmp_path / "data", quiet=True)
    return request.param, tmp_path / "data"


def test_copied_once_and_then_read_from_there(made, scratch):
    name, data = made
    first = open_source(sets.recipe(name), data, CPU)
    (copy,) = scratch.glob("bnonly-*")
    times = {p.name: p.stat().st_mtime_ns for p in copy.iterdir()}
    for path in (data / name).glob("*[!n]"):  # all but manifest.json
        path.write_bytes(bytes(path.stat().st_size))
    second = open_source(sets.recipe(name), data, CPU)
    assert len(list(second.train_batches(0, 0, 4))) > 1
    assert first.checksum == second.checksum
    assert times == {p.name: p.stat().st_mtime_ns for p in copy.iterdir()}


def test_an_interrupted_copy_is_not_taken_for_a_whole_one(made, scratch, monkeypatch):
    name, data = made
    copyfile, copied = prepared.shutil.copyfile, []

    def interrupted(source, target):
        copied.append(copyfile(source, target))
        if len(copied) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepared.shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_source(sets.recipe(name), data, CPU)
    assert not list(scratch.glob("bnonly-*"))
    monkeypatch.setattr(prepared.shutil, "copyfile", copyfile)
    assert open_source(sets.recipe(name), data, CPU).classes


def test_damaged_data_are_not_copied(made, scratch):
    name, data = made
    path = max((data / name).iterdir(), key=lambda p: p.stat().st_size)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(
        UserError, match=f"differs from the prepared file; delete {data / name} and run: bnonly prepare"
    ):
        open_source(sets.recipe(name), data, CPU)
    assert not list(scratch.glob("bnonly-*"))


def test_a_damaged_copy_is_refused(made, scratch):
    name, data = made
    open_source(sets.recipe(name), data, CPU)
    (copy,) = scratch.glob("bnonly-*")
    path = max(copy.iterdir(), key=lambda p: p.stat().st_size)
    path.write_bytes(b"x")
    with pytest.raises(UserError, match=f"delete {copy}; it will be copied again"):
        open_source(sets.recipe(name), data, CPU)


def test_a_copy_whose_bytes_changed_is_refused(made, scratch):
    name, data = made
    open_source(sets.recipe(name), data, CPU)
    (copy,) = scratch.glob("bnonly-*")
    path = copy / ("train_images.u8" if name == "cifar10" else "train-000.pack")
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match=f"delete {copy}; it will be copied again"):
        list(open_source(sets.recipe(name), data, CPU).train_batches(0, 0, 4))


def test_copying_shows_its_progress(made, scratch, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = itertools.count()
    monkeypatch.setattr("bnonly.console.time.monotonic", lambda: next(clock))
    name, data = made
    open_source(sets.recipe(name), data, CPU)
    assert f"copying {data / name} to {scratch}: " in capsys.readouterr().err


def test_a_source_that_cannot_be_read_is_told_from_a_disk_that_cannot_be_written(made, scratch, monkeypatch):
    name, data = made

    def unreadable(source, target):
        raise PermissionError(13, "Permission denied", str(source))

    def full(source, target):  # as shutil names both files
        raise OSError(28, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(prepared.shutil, "copyfile", unreadable)
    with pytest.raises(UserError, match=rf"^{data / name}/\S+: cannot be read: Permission denied$"):
        open_source(sets.recipe(name), data, CPU)
    monkeypatch.setattr(prepared.shutil, "copyfile", full)
    with pytest.raises(UserError, match=f"^{scratch}: cannot be written: No space left on device"):
        open_source(sets.recipe(name), data, CPU)


def test_no_room_and_no_folder(made, scratch, monkeypatch):
    name, data = made
    usage = prepared.shutil.disk_usage(scratch)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(UserError, match="GB are free"):
        open_source(sets.recipe(name), data, CPU)
    monkeypatch.setenv("BNONLY_SCRATCH", str(scratch / "nowhere"))
    with pytest.raises(UserError, match="unset BNONLY_SCRATCH"):
        open_source(sets.recipe(name), data, CPU)
