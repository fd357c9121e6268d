"""One writer of a folder, on one node and between nodes."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bnonly import paths
from bnonly.errors import UserError
from bnonly.results import lock

CELL = Path("cell")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


HOLDS = """
import sys, time
from pathlib import Path
from bnonly.results import lock
with lock.hold(Path(sys.argv[1]), "cell"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    process = subprocess.Popen([sys.executable, "-c", HOLDS, "cell"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_one_holds_at_a_time_and_the_kernel_lets_go(holder):
    with pytest.raises(lock.Held, match=f"cell is being trained by process {holder.pid} on "):
        with lock.hold(Path("cell"), "cell"):
            pass
    owner = lock.owner_of(Path("cell"))
    assert owner.process == holder.pid and lock.is_alive(Path("cell"), owner)
    holder.kill()
    holder.wait()
    assert not lock.is_alive(Path("cell"), owner)
    with lock.hold(Path("cell"), "cell") as mine:
        mine.check()
    assert lock.owner_of(Path("cell")) is None


def test_waiting_ends_when_the_other_does(holder, capsys):
    os.kill(holder.pid, signal.SIGSTOP)
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
    with lock.hold(Path("cell"), "cell", wait=True, poll=0.05):
        holder.wait()
    assert f"waits for process {holder.pid}" in capsys.readouterr().err


def of_another_node(age: float, job: str = "") -> None:
    """The mark of a process that this node's kernel knows nothing of."""
    Path("cell").mkdir(exist_ok=True)
    mark = {"host": "elsewhere", "process": 1, "job": job, "token": "t"}
    paths.owner(Path("cell")).write_text(json.dumps(mark))
    then = time.time() - age
    os.utime(paths.owner(Path("cell")), (then, then))


def test_another_node_is_seen_without_its_lock():
    of_another_node(age=lock.LEASE / 2, job="12")
    with pytest.raises(lock.Held, match=r"process 1 on elsewhere \(SLURM job 12\)"):
        with lock.hold(Path("cell"), "cell"):
            pass
    assert lock.is_alive(Path("cell"), lock.owner_of(Path("cell")))


@pytest.mark.parametrize("why", ["silent", "requeued", "torn", "empty"])
def test_another_node_that_is_gone(why, monkeypatch):
    of_another_node(age=lock.LEASE + 1 if why == "silent" else 1, job="12")
    if why == "requeued":
        monkeypatch.setenv("SLURM_JOB_ID", "12")
    elif why in ("torn", "empty"):  # a power cut
        paths.owner(Path("cell")).write_text("{" if why == "torn" else "")
        os.utime(paths.owner(Path("cell")), (1, 1))
    with lock.hold(Path("cell"), "cell") as mine:
        assert lock.owner_of(Path("cell")) == mine.owner


def test_who_was_taken_for_dead_writes_no_more():
    with lock.hold(Path("cell"), "cell") as mine:
        of_another_node(age=0)
        with pytest.raises(lock.Held, match="was taken over by process 1 on elsewhere"):
            mine.check()
    assert lock.owner_of(Path("cell")).host == "elsewhere", "nor removes the other's mark"


def mark(owner: lock.Owner | dict) -> None:
    CELL.mkdir(exist_ok=True)
    paths.owner(CELL).write_text(json.dumps(owner if isinstance(owner, dict) else asdict(owner)))


def held_here() -> lock.Owner:
    with lock.hold(CELL, "cell") as mine:
        return mine.owner


def test_a_process_number_that_was_given_again_is_another_process():
    mine = held_here()
    assert lock.is_alive(CELL, mine)
    assert not lock.is_alive(CELL, replace(mine, started=f"{mine.started}0"))
    assert lock.is_alive(CELL, replace(mine, started="")), "a mark that an earlier version made"


def test_a_process_that_has_ended_but_was_not_waited_for_is_not_alive(holder):
    owner = lock.owner_of(CELL)
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert not lock.is_alive(CELL, owner)


def test_a_container_of_the_same_name_is_another_node():
    other = replace(held_here(), process=1, started="4026500000 1")
    mark(other)
    assert lock.is_alive(CELL, other)
    os.utime(paths.owner(CELL), (1, 1))
    assert not lock.is_alive(CELL, other)


@pytest.mark.parametrize("ahead", [-86400, 86400])
def test_ages_are_told_by_the_clock_that_stamps_files(ahead, monkeypatch):
    now = time.time
    monkeypatch.setattr(lock.time, "time", lambda: now() + ahead)
    of_another_node(age=lock.LEASE / 2 + ahead)
    assert lock.is_alive(CELL, lock.owner_of(CELL))
    of_another_node(age=lock.LEASE * 2 + ahead)
    assert not lock.is_alive(CELL, lock.owner_of(CELL))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"host": 1}',
        b'{"host": "h", "process": 1e999, "job": "", "token": "t"}',
    ],
    ids=["bytes", "deep", "list", "null", "few", "infinite"],
)
def test_a_mark_that_nobody_made_is_no_owner(content):
    CELL.mkdir()
    paths.owner(CELL).write_bytes(content)
    assert lock.owner_of(CELL) is None
    os.utime(paths.owner(CELL), (1, 1))
    held_here()


@pytest.mark.parametrize("what", [paths.owner, paths.lock])
def test_a_pipe_in_a_files_place_does_not_hang(what):
    CELL.mkdir()
    os.mkfifo(what(CELL))
    os.utime(what(CELL), (1, 1))
    assert lock.owner_of(CELL) is None
    held_here()


def test_numbers_that_no_process_has():
    for number in (-1, 0, 2**70):
        assert not lock.is_alive(CELL, replace(held_here(), process=number, started=""))


def test_a_lock_file_of_another_user_is_taken_all_the_same():
    CELL.mkdir()
    paths.lock(CELL).touch(0o444)
    held_here()


def test_a_folder_that_cannot_be_written_says_how_a_group_shares_it(monkeypatch):
    def refused(*how):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lock.os, "open", refused)
    with pytest.raises(
        UserError,
        match=r"cell/.lock: cannot be written: Permission denied; make its folder writable \(for a group: chmod",
    ):
        held_here()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two other users")
@pytest.mark.parametrize(("umask", "status"), [(0o002, 0), (0o022, 1)])
def test_two_users_of_one_group(umask, status, monkeypatch):
    """Of a process that was killed the other user takes the folder over, or reads how it must be set up."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(root, 0, 4242)
    root.chmod(0o2775)
    monkeypatch.chdir(root)

    def user(number, killed):
        if process := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        os.setgroups([])
        os.setgid(4242)
        os.setuid(number)
        os.umask(umask)
        try:
            with lock.hold(CELL, "cell"):
                if killed:
                    os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        except UserError as problem:
            os._exit(1 if "make its folder writable (for a group: chmod" in str(problem) else 2)

    try:
        assert user(3001, killed=True) == -signal.SIGKILL
        assert user(3002, killed=False) == status
    finally:
        shutil.rmtree(root)


def overlaps(number: int, found) -> None:
    """Hold a cell a few times and report whoever is there, too."""
    for _ in range(8):
        with lock.hold(CELL, "cell", wait=True, poll=0.001):
            try:
                handle = os.open("inside", os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                found.put(number)
                continue
            time.sleep(0.002)
            os.close(handle)
            os.unlink("inside")
            if number % 2:  # ends without a word: leaves its mark to be taken over
                os._exit(0)


def test_two_never_hold_it_at_a_time_also_when_holders_are_killed():
    of_another_node(age=lock.LEASE * 2)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    processes = [context.Process(target=overlaps, args=(n, found)) for n in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert found.empty()


class TestWhyNotFilelock:
    """What our lock promises and filelock's lease does not keep: should these fail one day, use filelock's."""

    @staticmethod
    def lease(content: bytes):
        filelock = pytest.importorskip("filelock")
        Path("lease").write_bytes(content)
        os.utime("lease", (1, 1))
        return filelock.SoftFileLease(
            "lease", lease_duration=lock.LEASE, timeout=1, poll_interval=0.05
        ), filelock.Timeout

    @pytest.mark.parametrize(
        "content",
        [b"filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=t\nduration=180.0\n", b""],
        ids=["silent for years", "empty for years"],
    )
    def test_what_is_silent_is_taken_over_at_once(self, content):
        lease, refused = self.lease(content)
        with pytest.raises(refused):
            lease.acquire()
