"""The process that has imported torch: the same results, status, signals and messages as without it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.mini import mini, write

from bnonly import paths
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve

CELL = ("ResNet-8-c4", "bn")


@pytest.fixture
def place(tmp_path):
    """A configuration, and an environment whose warm process is this test's own."""
    config = write(tmp_path, mini(recipes__digits__epochs=400))
    environment = {**os.environ, "BNONLY_WARM": "1", "TMPDIR": str(tmp_path)}
    yield tmp_path, config, environment
    for number in servers(tmp_path):
        os.kill(number, signal.SIGKILL)


def servers(folder):
    """The processes that serve in a folder."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = process.read_text(errors="replace")
            if "--serve" in words and str(folder) in words:
                yield int(process.parent.name)


def command(config, folder, *options):
    """The command line of a training of `CELL` in a folder."""
    start = [
        sys.executable,
        "-m",
        "bnonly",
        "--config",
        config,
        "-C",
        folder,
        *options,
        "train",
        *CELL,
        "--threads",
        "1",
    ]
    return list(map(str, start))


def start(place, *options):
    folder, config, environment = place
    return subprocess.Popen(
        [*command(config, folder / "run", *options), "--checkpoint-seconds", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def wait_for_checkpoint(place):
    cell = resolve(mini(recipes__digits__epochs=400)).cell(*CELL, 0)
    path = paths.checkpoint(place[0] / "run" / cell.key.folder, cell.digest())
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()
    return path


def test_the_result_is_the_same_and_the_process_is_shared(place):
    folder, config, environment = place
    written = []
    for run, variables in (("cold", dict(os.environ)), ("warm", environment), ("again", environment)):
        line = command(config, folder / run, "--set", "recipes.digits.epochs=2")
        done = subprocess.run(line, env=variables, capture_output=True, text=True)
        assert done.returncode == 0 and "finished, test accuracy" in done.stderr
        written.append(paths.weights(folder / run / Key(*CELL, 0).folder).read_bytes())
    assert written[0] == written[1] == written[2]
    assert len(list(folder.glob("bnonly-*/*.sock"))) == 1
    (server,) = servers(folder)
    assert "libtorch" in Path(f"/proc/{server}/maps").read_text(), "every cell would import torch again"


def test_a_mistake_is_told_as_ever(place):
    process = start(place, "--set", "recipes.digits.lr=-1")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "bnonly: error: --set recipes.digits.lr=-1: recipes.digits.lr must be greater than 0 (got -1)\n"


def test_signals_reach_the_training(place):
    process = start(place)
    wait_for_checkpoint(place)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "checkpoint saved; the same command continues" in err


def test_a_caller_that_is_killed_stops_its_training(place):
    process = start(place)
    path = wait_for_checkpoint(place)
    process.kill()
    process.wait()
    time.sleep(1.5)
    age = path.stat().st_mtime_ns
    time.sleep(0.5)
    assert path.stat().st_mtime_ns == age, "the training goes on without its caller"
    again = start(place)  # and the cell's lock is free
    time.sleep(3)
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 128 + signal.SIGTERM, again.stderr.read()


def test_without_a_socket_it_works_by_itself(place):
    folder, config, environment = place
    (folder / f"bnonly-{os.getuid()}").write_text("in the way")
    line = command(config, folder / "run", "--set", "recipes.digits.epochs=1.5")
    done = subprocess.run([*line, "--quiet"], env=environment, capture_output=True)
    assert done.returncode == 0
    assert paths.metrics(folder / "run" / Key(*CELL, 0).folder).exists()
