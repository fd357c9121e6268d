"""The fork server: a process that has imported torch and forks for every small cell.

Importing torch takes longer than training a cell of the demo.  With BNONLY_WARM set, `bnonly train` and `bnonly analyse`
send their work to the fork server.  The first command starts it; it ends when idle.  The forked child runs the command
with the caller's arguments, folder, environment and output.  It receives the caller's signals, and the caller returns
its exit status.  The results are the same as in a process of their own.

The workflow sets the variable for local runs of configurations with `warm: true`; nothing depends on it.  Batches, as on
a cluster, do not replace it.  Eight cells of the demo took 19 to 22 s of processor time through Snakemake and the fork
server, and 27 to 28 s as four batches of two replicates, even without Snakemake: each batch imports torch.  Both ways
ran three times in turn, on two busy cores.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bnonly.commands.gpus import private_folder

VARIABLE = "BNONLY_WARM"
#: The fork server ends after so many seconds without a caller.
IDLE = 20.0
#: A caller waits so many seconds for the fork, then computes in its own process.
ANSWER = 30.0
#: The limits of `ulimit`; the child takes all of them from its caller.
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def address() -> Path:
    """Return the server's socket for this code, Python and user."""
    package = Path(__file__).parents[1]
    newest = max(p.stat().st_mtime_ns for p in package.rglob("*.py"))
    # Libraries read these variables on import, so server and caller must agree on them.
    threads = [os.environ.get(f"{name}_NUM_THREADS", "") for name in ("OMP", "MKL", "OPENBLAS")]
    key = hashlib.sha256(f"{sys.executable} {package} {newest} {threads}".encode()).hexdigest()[:16]
    return private_folder() / f"{key}.sock"


def call(arguments: Sequence[str]) -> int | None:
    """Run a command in the fork server.

    Parameters
    ----------
    arguments : sequence of str
        Arguments of the command line.

    Returns
    -------
    int or None
        The command's exit status; None if no server is available and the caller must run the command itself.
    """
    if not hasattr(os, "fork") or not os.environ.get(VARIABLE):
        return None
    try:
        path = address()
        connection = _connect(path)
        answer = connection.makefile("rb", buffering=0)
        _send(connection, arguments)
        connection.settimeout(None)
        if not _readable(connection, ANSWER):
            return None
        first = answer.readline()
    except OSError:
        return None
    if not first:  # the server was just ending
        return None
    child = int(first)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda n, frame: _signal(child, n))
    while not _readable(connection, 2):
        if _has_ended(child) and not _readable(connection, ANSWER):  # the server was stopped
            return None
    status = answer.readline()
    connection.close()
    return int(status) if status else 1


def _readable(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def _has_ended(child: int) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return Path("/proc/self/stat").exists()


def _send(connection: socket.socket, arguments: Sequence[str]) -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    request = {
        "arguments": list(arguments),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "umask": umask,
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
    }
    body = json.dumps(request).encode()
    descriptors = array.array("i", [sys.stdout.fileno(), sys.stderr.fileno()])
    connection.sendmsg([len(body).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors.tobytes())])
    connection.sendall(body)


def _connect(path: Path) -> socket.socket:
    """Connect; start the server if nobody answers."""
    deadline = time.monotonic() + 30
    started: subprocess.Popen[bytes] | None = None
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER)
        try:
            with _short(path) as address:
                connection.connect(address)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > deadline or (started and started.poll() not in (None, 0)):
                raise
        if started is None:
            started = subprocess.Popen(
                [sys.executable, "-m", "bnonly", "--serve", str(path)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True, cwd="/",
            )  # fmt: skip
        time.sleep(0.05)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a socket a short name: the kernel allows 107 bytes, and TMPDIR may be longer (on Linux)."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _signal(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


class _Server:
    """Accepts callers, forks for each, and returns the child's exit status."""

    def __init__(self, path: Path, run: Callable[[Sequence[str]], int]) -> None:
        self._path, self._run = path, run
        self._socket = socket.socket(socket.AF_UNIX)
        self._callers: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        with _short(self._path) as address:
            self._socket.bind(address)
        self._socket.listen(64)
        self._selector.register(self._socket, selectors.EVENT_READ)
        idle_since = time.monotonic()
        while self._callers or time.monotonic() - idle_since < IDLE:
            for key, _ in self._selector.select(timeout=0.05 if self._callers else 1.0):
                if key.fileobj is self._socket:
                    self._accept()
                else:  # callers send nothing more, so this one has gone: stop its child
                    _signal(key.data, signal.SIGTERM)
                    self._selector.unregister(key.fileobj)
            self._reap()
            if self._callers:
                idle_since = time.monotonic()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        caller, _ = self._socket.accept()
        caller.settimeout(10)
        try:
            head, control, _, _ = caller.recvmsg(4, socket.CMSG_SPACE(8))
            out, err = array.array("i", control[0][2])
            stream = caller.makefile("rb")
            request = json.loads(stream.read(int.from_bytes(head, "big")))
        except (OSError, ValueError, IndexError):
            caller.close()
            return
        child = os.fork()
        if child == 0:
            self._become(request, out, err)
        os.close(out)
        os.close(err)
        caller.settimeout(None)
        with contextlib.suppress(OSError):
            caller.sendall(f"{child}\n".encode())
        self._callers[child] = caller
        self._selector.register(caller, selectors.EVENT_READ, child)

    def _become(self, request: dict[str, Any], out: int, err: int) -> None:
        """Run the command in the forked child; does not return."""
        status = 1
        try:
            self._socket.close()
            with contextlib.suppress(OSError, AttributeError):  # Linux: signal the child when the server dies
                ctypes.CDLL(None).prctl(1, signal.SIGTERM)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(request["folder"])
            os.umask(request["umask"])
            os.environ.clear()
            os.environ.update(request["environment"])
            for limit, values in zip(LIMITS, request["limits"], strict=True):
                with contextlib.suppress(ValueError, OSError):  # above the server's own limit
                    resource.setrlimit(limit, values)
            status = self._run(request["arguments"])
        except BaseException as problem:  # a bug: report it in the caller's log
            import traceback

            if not isinstance(problem, SystemExit):
                traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._callers:
            child, raw = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            caller = self._callers.pop(child)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(caller)
            code = os.waitstatus_to_exitcode(raw)
            with contextlib.suppress(OSError):
                caller.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
            caller.close()


def serve(path: Path, run: Callable[[Sequence[str]], int]) -> int:
    """Import the modules that cells need and serve until idle; return at once if another process serves this socket.

    Parameters
    ----------
    path : Path
        The socket.
    run : callable
        Runs a command line in this process and returns its exit status.
    """
    with open(f"{path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        os.set_inheritable(lock.fileno(), False)
        path.unlink(missing_ok=True)
        # The slow imports; torchvision is for the ImageNet family.
        import bnonly.analysis.run
        import bnonly.networks.imagenet_resnet
        import bnonly.train.run  # noqa: F401

        _Server(path, run).serve()
    return 0
