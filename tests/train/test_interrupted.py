"""A cell that is killed, asked to stop, or trained twice at once, and its checkpoint."""

import json
import random
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch
from tests.mini import mini, write
from tests.train.runs import cell_of, results, train

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.results import cache, parquet
from bnonly.train.checkpoint import load as load_checkpoint
from bnonly.train.checkpoint import save as save_checkpoint
from bnonly.train.options import Keep


def start(bnonly_folder, config, *options, regime="bn"):
    return subprocess.Popen(
        [sys.executable, "-m", "bnonly", "--config", config, "-C", bnonly_folder, "train", "ResNet-8-c4", regime,
         "--threads", "1", "--device", "cpu", "--checkpoint-seconds", "0", *options],
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup, which may run these tests, ignores it
    )  # fmt: skip


#: Trains a cell that writes a checkpoint every iteration, again and again in a fork, each of which dies by SIGKILL in the
#: write that its moment names: (beginning of the file's name, how many such writes, before | within | written | renamed).
#: Between two writes nothing changes on the disk, so these are all the moments there are, and none depends on the clock.
KILLED = """
import json, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from bnonly.grid.cell import parse_cell
from bnonly.results import atomic
from bnonly.engines.reference import Sgd
from bnonly.train.options import Keep, Options
from bnonly.train.run import train_cell

folder, cell, keep = Path(sys.argv[1]), parse_cell(sys.argv[2]), Keep(sys.argv[4])
real = atomic.writing

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Torn:
    def __init__(self, stream):
        self._stream = stream
    def __getattr__(self, name):
        return getattr(self._stream, name)
    def write(self, content):
        content = bytes(content)
        if len(content) < 100:
            return self._stream.write(content)
        self._stream.write(content[: len(content) // 2])
        self._stream.flush()
        die()

def train(name, count, stage):
    @contextmanager
    def writing(path, **how):
        nonlocal count
        count -= path.name.startswith(name)
        now = stage if count == 0 and path.name.startswith(name) else None
        if now == "before":
            die()
        with real(path, **how) as stream:
            yield Torn(stream) if now == "within" else stream
            stream.flush()
            if now == "written":
                die()
        if now == "renamed":
            die()
    atomic.writing = writing
    train_cell(cell, folder, Options(folder, device="cpu", quiet=True, checkpoint_seconds=0, keep=keep))

for moment in json.loads(sys.argv[3]):
    child = os.fork()
    if not child:
        try:
            train(*moment)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, (moment, status)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regime", "epochs", "lr", "keep"),
    [
        ("bn", 6, 0.1, Keep.IN_FOLDER),
        ("rand2", 5.4, 0.1, Keep.IN_CACHE),
        ("all", 6, 1e9, Keep.IN_FOLDER_AND_CACHE),
    ],
)
def test_killed_at_any_moment_it_continues_to_the_same_result(regime, epochs, lr, keep, tmp_path, monkeypatch):
    """kill -9 before, within and after the write of every file; then the run is what it would have been."""
    monkeypatch.chdir(tmp_path)  # the store is in the current folder
    long = mini(recipes__digits__epochs=epochs, recipes__digits__milestones=[3, 5], recipes__digits__lr=lr)
    cell = resolve(long).cell("ResNet-8-c4", regime, 0)
    whole = train(cell, tmp_path / "whole")
    # A run that diverges is over in its first epoch, after 11 checkpoints.
    draw, farthest = random.Random(regime), 2 if lr > 1 else 9
    stages = ["before", "within", "written", "renamed"]
    while_training = [(".checkpoint", draw.randint(1, farthest), stage) for stage in draw.sample(stages, 4)]
    while_finishing = [(name, 1, draw.choice(stages[:3])) for name in ("batchnorm", "weights", "metrics")]
    moments = [(".checkpoint", 1, "within"), *while_training, *while_finishing]
    folder = tmp_path / "run"
    made = paths.finished(cell.digest()) if keep is Keep.IN_CACHE else folder
    command = [sys.executable, "-c", KILLED, folder, cell.canonical(), json.dumps(moments), keep.value]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(made.glob(".*.tmp")), "a killed write leaves its temporary file"
    assert not paths.metrics(made).exists()

    train(cell, folder, checkpoint_seconds=0, keep=keep)
    assert results(made) == results(whole)
    assert cache.holds(cell.digest()) == (keep is not Keep.IN_FOLDER)
    label = parquet.read_label(paths.metrics(made))
    assert label["status"] == ("diverged" if lr > 1 else "finished")
    # The sessions whose work is in the result: those that came to a checkpoint (of those that finish, the first), and the last.
    wrote = [count - 1 + (stage == "renamed") > 0 for name, count, stage in moments if name == ".checkpoint"]
    assert len(label["sessions"]) == label["resumed"] + 1 == sum(wrote) + 2
    assert not list(folder.glob(".*.tmp")) and not list(made.glob(".*.tmp")), "what a killed write left is cleared away"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_says_so(tmp_path, number):
    long = mini(recipes__digits__epochs=400)
    config = write(tmp_path, long)
    cell = resolve(long).cell("ResNet-8-c4", "bn", 0)
    folder = tmp_path / "run" / cell.key.folder
    process = start(tmp_path / "run", config, "--quiet")
    checkpoint = paths.checkpoint(folder, cell.digest())
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert "checkpoint saved; the same command continues" in process.stderr.read()
    assert stat.S_IMODE(checkpoint.stat().st_mode) == 0o600
    assert load_checkpoint(checkpoint, cell)["iteration"] > 0
    assert not paths.metrics(folder).exists()


def test_two_runs_of_one_cell_at_once(tmp_path, bnonly):
    long = mini(recipes__digits__epochs=400)
    config = write(tmp_path, long)
    process = start(tmp_path / "run", config, "--quiet")
    folder = tmp_path / "run" / Key("ResNet-8-c4", "bn", 0).folder
    deadline = time.monotonic() + 60
    while not list(folder.glob(".checkpoint*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    second = bnonly("--config", config, "-C", tmp_path / "run", "train", "ResNet-8-c4", "bn")
    process.kill()
    process.wait()
    assert second.returncode == 2
    assert f"ResNet-8-c4/bn/seed0 is being trained by process {process.pid} on" in second.stderr
    assert second.stderr.count("\n") == 1


def test_when_checkpoints_are_written_makes_no_difference(tmp_path):
    for regime, lr in (("bn", 0.1), ("all", 1e9)):
        cell = cell_of(regime, recipes__digits__lr=lr)
        never = results(train(cell, tmp_path / regime / "never", checkpoint_seconds=1e9))
        for seconds in (0, 0.01, 0.03):
            assert results(train(cell, tmp_path / regime / str(seconds), checkpoint_seconds=seconds)) == never


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(
        path, cell_of(), dict.fromkeys(("state", "rows", "iteration", "partial", "history", "data_sha256"), 1)
    )
    whole = path.read_bytes()
    for k in range(100):
        content = bytearray(whole)
        content[len(whole) * k // 100] ^= 1 << (k % 8)
        path.write_bytes(content)
        with pytest.raises(UserError, match="delete it to train the cell from the start"):
            load_checkpoint(path, cell_of())


@pytest.mark.parametrize("damage", ["truncated", "incomplete"])
def test_damaged_checkpoint(damage, tmp_path, bnonly):
    config = write(tmp_path, mini())
    folder = tmp_path / Key("ResNet-8-c4", "bn", 0).folder
    folder.mkdir(parents=True)
    path = paths.checkpoint(folder, cell_of().digest())
    save_checkpoint(path, cell_of(), {"state": torch.zeros(100)})  # lacks most of what a run needs
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:700])
    done = bnonly("--config", config, "-C", tmp_path, "train", "ResNet-8-c4", "bn")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    # The path is one that can be deleted from where the command was typed.
    assert f"error: {path}: " in done.stderr and "delete it to train the cell from the start" in done.stderr
    assert path.exists()


def test_full_disk_while_training(tmp_path, bnonly):
    """One line, and the checkpoint of before stands."""
    import resource

    config = write(tmp_path, mini(recipes__digits__epochs=400))
    arguments = (
        "--config",
        config,
        "-C",
        tmp_path,
        "train",
        "ResNet-8-c4",
        "all",
        "--checkpoint-seconds",
        "0",
        "--quiet",
    )
    done = bnonly(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "cannot be written: File too large; nothing was changed" in done.stderr
