"""Files written whole or not at all, and small ones read with care."""

import os
import stat
from pathlib import Path

import pytest

from bnonly import paths
from bnonly.errors import UserError
from bnonly.results import atomic, cache, lock


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=["022", "077", "002"])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def entered(tmp_path, monkeypatch):
    """A run's folder that a command entered from the folder above."""
    monkeypatch.setattr(paths, "_entered", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    paths.enter(Path("run"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_private_until_it_is_whole_and_has_the_umask_then(tmp_path, umask, durable):
    path = tmp_path / "folder/file"
    with atomic.writing(path, durable) as stream:
        stream.write(b"half")
        stream.flush()
        assert [mode(p) for p in path.parent.iterdir()] == [0o600]
    assert mode(path) == 0o666 & ~umask
    atomic.replace(path, b"whole")
    assert mode(path) == 0o666 & ~umask and path.read_bytes() == b"whole"


def test_the_umask_is_asked_for_without_changing_it(umask, monkeypatch):
    monkeypatch.setattr(atomic.os, "umask", None)
    assert atomic._umask() == umask


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(UserError, match="file: cannot be written: No space left on device; nothing was changed"):
        atomic.replace(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[1]", b"1", b'{"a":' * 100_000, b"9" * 5_000],
    ids=["empty", "cut", "bytes", "list", "number", "deep", "digits"],
)
def test_what_is_no_json_object_is_an_empty_one(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    assert atomic.read_json(path) == {}


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "folder", "device"]
)
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(tmp_path, make):
    make(tmp_path / "state")
    assert atomic.read_json(tmp_path / "state") == {}
    with pytest.raises(OSError):
        atomic.read(tmp_path / "state")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "state").open("wb") as stream:
        stream.truncate(atomic.LARGEST + 1)
    with pytest.raises(OSError, match="larger than"):
        atomic.read(tmp_path / "state")


def test_a_path_is_shown_from_where_the_command_was_typed_only_in_the_folder_entered(entered, tmp_path, monkeypatch):
    assert (paths.shown("x"), paths.typed("y")) == ("run/x", tmp_path / "y")
    monkeypatch.chdir(tmp_path)
    assert (paths.shown("x"), paths.typed("y")) == ("x", Path("y"))


@pytest.mark.parametrize("module", [atomic, cache, lock])
def test_what_cannot_be_written_is_named_as_seen_from_where_the_command_was_typed(module, entered):
    paths.RESULTS.write_bytes(b"a file in place of the folder")
    write = {
        atomic: lambda: atomic.replace(paths.RESULTS / "x", b""),
        cache: lambda: cache.keep("0" * 16, []),
        lock: lambda: lock.hold(paths.RESULTS / "x", "x").__enter__(),
    }[module]
    with pytest.raises(UserError, match=r"^run/results/\S+: cannot be written: "):
        write()


def test_a_held_folder_is_named_as_seen_from_where_the_command_was_typed(entered):
    with lock.hold(Path("cell"), "x") as held:
        with pytest.raises(lock.Held, match=r"^run/cell: x is being trained by "), lock.hold(Path("cell"), "x"):
            pass
        paths.owner(Path("cell")).unlink()
        with pytest.raises(lock.Held, match=r"^run/cell: x was taken over by "):
            held.check()


def test_results_on_other_data_are_named_with_their_copies_as_seen_from_there(entered):
    text = str(cache.on_other_data("digits", (Path("a"), "0" * 16), (Path("b"), "1" * 16)))
    assert (
        text.startswith("run/a: ") and "(run/results/.finished/0000" in text and "or run/results/.finished/11" in text
    )
