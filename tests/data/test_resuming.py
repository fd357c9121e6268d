"""Preparations that are killed, or find the disk full, or are not alone: the next one goes on, and nothing is left over."""

import contextlib
import errno
import os

import pytest
from tests.data import sets
from tests.data.sets import CPU

from bnonly.data import open_source, pack
from bnonly.data import prepare as module
from bnonly.data.prepare import prepare
from bnonly.data.prepared import MANIFEST, open_prepared
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS
from bnonly.results import atomic, lock

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PACK_BYTES", 3000)
    return sets.folder_set(tmp_path / "set")


def check_goes_on(source, data, monkeypatch):
    """The next call makes the whole set, decodes nothing for it, and leaves nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr(pack, "_inspect", lambda item, shrink: pytest.fail(f"{item.name} is decoded again"))
        prepare("imagenet", source, data, quiet=True)
    prepare("imagenet", source, data.parent / "whole", quiet=True)
    one, other = (open_prepared(DATASETS["imagenet"], d)[0] for d in (data, data.parent / "whole"))
    assert one == other and len(one.files) > 6
    assert {p.name for p in (data / "imagenet").iterdir()} == {*one.files, MANIFEST}


def kill(moment, source, data, monkeypatch):
    """Prepare, and be killed as this file gets its name."""
    replace = os.replace

    def killed(old, new):
        if str(new) == str(data / "imagenet" / moment):
            raise KeyboardInterrupt
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare("imagenet", source, data, quiet=True)


@pytest.mark.parametrize(
    "moment",
    [
        ".partial/train.index",
        ".partial/test.names",
        "train.index",
        "test.names",
        "train-000.pack",
        "train-001.pack",
        "test-000.pack",
        "manifest.json",
    ],
)
def test_killed_as_a_file_gets_its_name(moment, source, tmp_path, monkeypatch):
    data = tmp_path / "data"
    kill(moment, source, data, monkeypatch)
    with pytest.raises(UserError, match="imagenet is not prepared there"):
        open_source(sets.recipe("imagenet"), data, CPU)
    check_goes_on(source, data, monkeypatch)


def test_killed_as_it_tidies_up(source, tmp_path, monkeypatch):
    def killed(folder, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare("imagenet", source, tmp_path / "data", quiet=True)
    assert (tmp_path / "data" / "imagenet" / ".partial").exists()
    check_goes_on(source, tmp_path / "data", monkeypatch)


@pytest.mark.parametrize("file", ["train.index", "manifest.json"])
def test_disk_full_at_the_end(file, source, tmp_path, monkeypatch):
    def full(real):
        @contextlib.contextmanager
        def write(path):
            with real(path) as stream:
                yield stream
                if path.name == file:
                    raise OSError(errno.ENOSPC, "No space left on device")

        return write

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "writing", full(atomic.writing))
        with pytest.raises(UserError, match=f"{file}: cannot be written: No space left"):
            prepare("imagenet", source, tmp_path / "data", quiet=True)
    check_goes_on(source, tmp_path / "data", monkeypatch)


def test_packs_of_another_source_that_were_moved_are_removed(source, tmp_path, monkeypatch):
    data = tmp_path / "data"
    kill("test-000.pack", source, data, monkeypatch)
    moved = {p.name for p in (data / "imagenet").glob("train-*.pack")}
    for image in source.glob("train/*/*"):
        image.write_bytes(sets.encode(sets.photograph(1, 20, 20), "JPEG"))
    prepare("imagenet", source, data, quiet=True)
    files = open_prepared(DATASETS["imagenet"], data)[0].files
    assert moved - files.keys(), "the other source had more packs"
    assert {p.name for p in (data / "imagenet").iterdir()} == {*files, MANIFEST}


@pytest.mark.parametrize("damage", [lambda b: b"x", lambda b: b[:-30], lambda b: b[:40] + b"\0\0" + b[42:]])
def test_damaged_notes_are_done_without(damage, source, tmp_path, monkeypatch):
    partial = tmp_path / "data" / "imagenet" / ".partial"
    with monkeypatch.context() as patch:
        patch.setattr(pack, "statistics", lambda counts: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare("imagenet", source, tmp_path / "data", quiet=True)
    for note in partial.glob("*.npz"):
        note.write_bytes(damage(note.read_bytes()))
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    assert open_source(sets.recipe("imagenet"), tmp_path / "data", CPU).train_images == 12


def test_damaged_note_of_the_md5(tmp_path, monkeypatch):
    source = sets.official_set(tmp_path, monkeypatch)
    note = tmp_path / "data" / "imagenet" / ".partial" / "verified.json"
    note.parent.mkdir(parents=True)
    note.write_bytes(b'{"ILSVRC\xff')
    assert "12 training" in prepare("imagenet", source, tmp_path / "data", quiet=True)


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_what_a_killed_process_was_writing_is_removed_first(name, tmp_path, monkeypatch):
    source = sets.parquet(tmp_path / "set", "PNG") if name == "cifar10" else sets.folder_set(tmp_path / "set")
    folder = tmp_path / "data" / name
    left = [folder / ".train_images.u8.a1b2.tmp", folder / ".partial" / ".train-000.pack.c3d4.tmp"]
    (folder / ".partial").mkdir(parents=True)
    for path in left:
        path.write_bytes(b"x")
    check = module.prepared.check_space

    def checked(where, needed):
        assert not any(path.exists() for path in left), "they take the room that is looked for"
        check(where, needed)

    monkeypatch.setattr(module.prepared, "check_space", checked)
    prepare(name, source, tmp_path / "data", quiet=True)
    left[0].write_bytes(b"x")
    assert "already prepared" in prepare(name, source, tmp_path / "data", quiet=True)
    assert {p.name for p in folder.iterdir()} == {*open_prepared(DATASETS[name], tmp_path / "data")[0].files, MANIFEST}


# Not alone


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refused(stream, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refused)
    source = sets.parquet(tmp_path / "set", "PNG")
    assert "50 training" in prepare("cifar10", source, tmp_path / "data", quiet=True)


def test_a_second_process_says_that_it_waits(tmp_path, monkeypatch, capsys):
    source, data = sets.parquet(tmp_path / "set", "PNG"), tmp_path / "data"
    with contextlib.ExitStack() as first:
        first.enter_context(lock.hold(data / ".cifar10", "cifar10"))

        def first_ends(seconds):
            first.close()

        monkeypatch.setattr(lock.time, "sleep", first_ends)
        prepare("cifar10", source, data, quiet=True)
    assert f"cifar10: waits for process {os.getpid()} on " in (said := capsys.readouterr().err)
    assert said.strip().endswith(", which prepares it")
