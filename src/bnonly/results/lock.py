"""One writer of a cell, on one node or on many (standard library only).

Two things hold a cell.  On a node it is the kernel's `flock`, which ends with the process however that ends.  Between nodes it may not be
seen (Lustre mounted without ``flock``, NFS with ``local_lock``), so the holder also makes ``.owner``, which a file system makes once only
(O_EXCL), and touches it every `BEAT` seconds.  One that was not touched for `LEASE` seconds is taken over; should its maker live after
all, it finds another's mark there before its next checkpoint and stops.  Relied upon: O_EXCL and rename are atomic, and a file's time
comes from the file server (both are then compared by one clock).
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bnonly import paths
from bnonly.errors import UserError

BEAT, LEASE = 20.0, 180.0


@dataclass(frozen=True)
class Owner:
    """Who holds a cell."""

    host: str
    process: int
    job: str
    token: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" + (f" (SLURM job {self.job})" if self.job else "")


class Held(UserError):
    """Another process holds the cell."""


def owner_of(folder: Path) -> tuple[Owner, float] | None:
    """Return who holds a cell and since when (seconds) nothing was heard of it; None if nobody does."""
    path = paths.owner(folder)
    try:
        age = time.time() - path.stat().st_mtime
        return Owner(**json.loads(path.read_text())), age
    except (OSError, ValueError, TypeError):
        return None


def is_alive(owner: Owner, age: float) -> bool:
    """Whether a holder lives, as far as can be seen from here."""
    if owner.host == platform.node():
        try:
            os.kill(owner.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return age < LEASE


class Hold:
    """A cell that is ours."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        self.owner = Owner(platform.node(), os.getpid(), os.environ.get("SLURM_JOB_ID", ""), uuid.uuid4().hex)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                if self._is_ours():
                    os.utime(paths.owner(self._folder))

    def _is_ours(self) -> bool:
        found = owner_of(self._folder)
        return found is not None and found[0].token == self.owner.token

    def check(self) -> None:
        """Make sure that the cell is still ours: a process that slept for long may have been taken for dead.

        Raises
        ------
        Held
            If it is not; nothing more is to be written.
        """
        if not self._is_ours():
            found = owner_of(self._folder)
            raise Held(f"{self._folder}: {self._what} was taken over by {found[0] if found else 'another process'}")

    def begin(self) -> None:
        """Show that the holder lives, from now on."""
        self._thread.start()

    def end(self) -> None:
        """Let go."""
        self._ended.set()
        if self._is_ours():
            paths.owner(self._folder).unlink(missing_ok=True)


@contextmanager
def hold(folder: Path, what: str, wait: bool = False, poll: float = 2.0, doing: str = "trains") -> Iterator[Hold]:
    """Hold a cell's folder, or another that is to have one writer.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    what : str
        Its name in messages.
    wait : bool
        Wait while another process holds it, instead of refusing.
    poll : float
        Seconds between looks.
    doing : str
        What the holder does with it, in messages.

    Raises
    ------
    Held
        If another process holds it and `wait` is false.
    UserError
        If the folder cannot be written.
    """
    path = paths.lock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    except OSError as problem:
        raise UserError(f"{path}: cannot be written: {problem.strerror}; a writable folder is wanted") from None
    mine = Hold(folder, what)
    told = False
    with stream:
        while True:
            alive = _take(stream, mine)
            if alive is None:
                break
            if not wait:
                raise Held(f"{folder}: {what} is being trained by {alive}; wait for it or stop it")
            if not told:
                print(f"{what}: waits for {alive}, which {doing} it", file=sys.stderr, flush=True)
                told = True
            time.sleep(poll)
        mine.begin()
        try:
            yield mine
        finally:
            mine.end()


def _take(stream: IO[str], mine: Hold) -> str | None:
    """Take both locks; None if they are ours, else who has them."""
    folder = mine._folder
    found = owner_of(folder)
    kernel = True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return str(found[0]) if found else "another process"
    except OSError as problem:
        if problem.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise UserError(f"{paths.lock(folder)}: cannot be locked: {problem.strerror}") from None
        kernel = False
    path = paths.owner(folder)
    for _ in range(10):
        try:
            _mark(path, mine.owner)
            return None
        except FileExistsError:
            pass
        except OSError as problem:
            raise UserError(f"{path}: cannot be written: {problem.strerror}") from None
        found = owner_of(folder)
        if found is None:  # just released, or cut short as it was made
            if path.exists() and _age(path) < BEAT:
                time.sleep(0.2)
            else:
                _clear(path, None)
            continue
        owner = found[0]
        ended = (
            # The kernel gave us its lock; or the node is ours and there is no such process; or we are its job, requeued.
            (kernel and owner.host == mine.owner.host)
            or (owner.host == mine.owner.host and not is_alive(*found))
            or (owner.job and owner.job == mine.owner.job)
            or _age(path) >= LEASE
        )
        if not ended:
            if kernel:
                fcntl.flock(stream, fcntl.LOCK_UN)
            return str(owner)
        _clear(path, owner.token)
    return "another process"


def _mark(path: Path, owner: Owner) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        with os.fdopen(handle, "w") as out:
            json.dump(asdict(owner), out)
    except OSError:  # the disk is full; an empty mark would be taken for one that another is just making
        path.unlink(missing_ok=True)
        raise


def _age(path: Path) -> float:
    """Return seconds since a file was touched, by the clock that stamps files."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _clear(path: Path, token: str | None) -> None:
    """Remove the mark of a process that has ended; of two that do it at once, neither removes a third's."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.rename(path, aside)
        moved = json.loads(aside.read_text())["token"] if token else None
        if moved != token:  # another was quicker, and this is its new mark
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
    except (OSError, ValueError, KeyError):
        pass
    finally:
        aside.unlink(missing_ok=True)
