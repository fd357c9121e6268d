"""A lock that allows one writer of a cell, on one node or many (standard library only).

Two locks hold a cell.  Within a node it is the kernel's `flock`, which always ends with its process.  Other nodes may not see it
(Lustre mounted without ``flock``, NFS with ``local_lock``).  So the holder also creates ``.owner`` exclusively
(O_EXCL), and touches it every `BEAT` seconds.  Another process takes over a mark untouched for `LEASE` seconds.  A holder that was
only asleep finds the new mark before its next checkpoint and stops.  This relies on atomic O_EXCL and rename, and on a file server that
stamps files: ages compare two of its time stamps, never a node's clock.

filelock's SoftFileLease (4.2.11) does not replace this.  It takes over a mark only after watching it for a whole lease, however old the
mark is.  It never takes over an empty mark, which a power cut leaves.  It ignores requeued jobs.  tests/results/test_lock.py tests all three.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bnonly import paths
from bnonly.errors import UserError
from bnonly.results import atomic

BEAT, LEASE = 20.0, 180.0


class Held(UserError):
    """Another process holds the cell."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a cell; `started` tells it from a later process with the same number."""

    host: str
    process: int
    job: str
    token: str
    started: str = ""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" + (f" (SLURM job {self.job})" if self.job else "")


def owner_of(folder: Path) -> Owner | None:
    """Return the owner of a cell, alive or dead; None if there is none."""
    return _read(paths.owner(folder))


def _read(path: Path) -> Owner | None:
    found = atomic.read_json(path)
    values = [found.get(field.name, field.default) for field in fields(Owner)]
    return (
        Owner(*values) if all(type(v).__name__ == f.type for v, f in zip(values, fields(Owner), strict=True)) else None
    )


def is_alive(folder: Path, owner: Owner) -> bool:
    """Whether the owner of a folder lives, as far as this node can tell."""
    mine = _started(os.getpid())
    if owner.host != platform.node() or owner.started.partition(" ")[0] not in ("", mine.partition(" ")[0]):
        try:
            return _age(paths.owner(folder)) < LEASE
        except OSError:  # just released
            return False
    found = _started(owner.process)
    return bool(found) and owner.started in ("", found)


def _started(process: int) -> str:
    """Return the namespace and the start of a process of this node; empty if it has ended."""
    try:
        state, *others = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else f"{Path('/proc/self/ns/pid').stat().st_ino} {others[18]}"
    except OSError:
        return ""


def _age(path: Path) -> float:
    """Return seconds since a file was touched, by the file server's clock; by ours if no file can be created."""
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return now - path.stat().st_mtime


class Hold:
    """A cell that this process holds."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        process = os.getpid()
        job = os.environ.get("SLURM_JOB_ID", "")
        self.owner = Owner(platform.node(), process, job, uuid.uuid4().hex, _started(process))

    def check(self) -> None:
        """Check that the cell is still ours; others take over from a process that sleeps for too long.

        Raises
        ------
        Held
            If it is not; the caller must write nothing more.
        """
        found = owner_of(self._folder)
        if not found or found.token != self.owner.token:
            raise Held(f"{paths.shown(self._folder)}: {self._what} was taken over by {found or 'another process'}")

    def _touch(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError, Held):
                self.check()
                os.utime(paths.owner(self._folder))

    def _let_go(self) -> None:
        with contextlib.suppress(OSError, Held):
            self.check()
            paths.owner(self._folder).unlink()


@contextmanager
def hold(folder: Path, what: str, wait: bool = False, poll: float = 2.0, doing: str = "trains") -> Iterator[Hold]:
    """Lock a cell's folder, or another that only one process may write.

    Parameters
    ----------
    folder : Path
        Created if absent.
    what : str
        Its name in messages.
    wait : bool
        Wait while another process holds it, instead of raising an error.
    poll : float
        Seconds between looks.
    doing : str
        Verb for messages.

    Raises
    ------
    Held
        If another process holds it and `wait` is false.
    UserError
        If the folder cannot be written.
    """
    mine, told = Hold(folder, what), False
    with _opened(paths.lock(folder)) as handle:
        while other := _take(handle, folder, mine.owner):
            if not wait:
                raise Held(f"{paths.shown(folder)}: {what} is being trained by {other}; wait for it or stop it")
            if not told:
                print(f"{what}: waits for {other}, which {doing} it", file=sys.stderr, flush=True)
                told = True
            time.sleep(poll)
        ended = threading.Event()
        threading.Thread(target=mine._touch, args=(ended,), daemon=True).start()
        try:
            yield mine
        finally:
            ended.set()
            mine._let_go()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the file for `flock`; read-only if it belongs to another user."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        readable = path.exists() and not os.access(path, os.W_OK)
        handle = os.open(path, os.O_NONBLOCK | (os.O_RDONLY if readable else os.O_RDWR | os.O_CREAT), 0o666)
    except OSError as problem:
        raise _unwritable(path, problem) from None
    try:
        yield handle
    finally:
        os.close(handle)


def _unwritable(path: Path, problem: OSError) -> UserError:
    remedy = "make its folder writable (for a group: chmod -R g+rwX, and umask 002 in every member's shell)"
    return UserError(
        f"{paths.shown(path)}: cannot be written: {problem.strerror}"
        + (f"; {remedy}" if problem.errno == errno.EACCES else "")
    )


def _take(handle: int, folder: Path, mine: Owner) -> str:
    """Take both locks; return their owner, or "" if they are ours now."""
    kernel, path = True, paths.owner(folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return str(owner_of(folder) or "another process")
    except OSError as problem:
        if problem.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise UserError(f"{paths.shown(paths.lock(folder))}: cannot be locked: {problem.strerror}") from None
        kernel = False
    for _ in range(10):
        try:
            _mark(path, mine)
            return ""
        except FileExistsError:
            found = _read(path)
        except OSError as problem:
            raise _unwritable(path, problem) from None
        with contextlib.suppress(FileNotFoundError):  # just released
            if found and not _has_ended(folder, found, mine, kernel):
                break
            if not found and _age(path) < BEAT:  # its owner is writing it, or died while writing
                time.sleep(0.2)
            else:
                _clear(path, found)
    if kernel:
        fcntl.flock(handle, fcntl.LOCK_UN)
    return str(found or "another process")


def _has_ended(folder: Path, owner: Owner, mine: Owner, kernel: bool) -> bool:
    """Whether the owner in a mark has ended: we got its `flock`, it is gone or silent, or we are its requeued job."""
    requeued = owner.job != "" and owner.job == mine.job
    return (kernel and owner.host == mine.host) or requeued or not is_alive(folder, owner)


def _mark(path: Path, owner: Owner) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "w") as out:
            json.dump(asdict(owner), out)
    except OSError:  # the disk is full; an empty mark would look like one being written
        path.unlink(missing_ok=True)
        raise


def _clear(path: Path, owner: Owner | None) -> None:
    """Remove the mark of an ended process, without removing a newer mark in a race."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.rename(path, aside)
        if _read(aside) != owner:  # another process was quicker; this is its mark
            os.link(aside, path)
    except PermissionError as problem:
        raise _unwritable(path, problem) from None
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
