"""The process that has imported torch: the same results, status, signals and messages as without it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.mini import mini, write

from bnonly import paths
from bnonly.commands import fork_server
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
            number = int(process.parent.name)
            if "--serve" in words and str(folder) in words and os.getsid(number) == number:  # not its children
                yield number


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


def test_a_server_that_was_stopped_costs_its_callers_a_time_limit(place, monkeypatch):
    folder, config, environment = place
    line = [*command(config, folder / "run", "--set", "recipes.digits.epochs=1.5"), "--quiet"]
    assert subprocess.run(line, env=environment).returncode == 0
    (server,) = servers(folder)
    os.kill(server, signal.SIGSTOP)
    for variable in ("TMPDIR", "BNONLY_WARM"):
        monkeypatch.setenv(variable, environment[variable])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(fork_server, "ANSWER", 0.5)
    try:
        assert fork_server.call(["train"]) is None
    finally:
        os.kill(server, signal.SIGCONT)
        monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_server_that_is_stopped_while_it_trains_loses_nothing(place):
    """The training ends by itself; its caller, who hears nothing more, finds it finished."""
    folder, config, environment = place
    line = command(config, folder / "run", "--set", "recipes.digits.epochs=20")[3:]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from bnonly.commands import cli, fork_server; fork_server.ANSWER = 0.5; import sys; sys.exit(cli.main({line!r}))"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    cell = resolve(mini()).cell(*CELL, 0)
    log = ""
    while "epoch 1/" not in log:
        log += process.stderr.readline()
    (server,) = servers(folder)
    os.kill(server, signal.SIGSTOP)
    try:
        _, rest = process.communicate(timeout=120)
        assert process.returncode == 0, log + rest
        assert paths.metrics(folder / "run" / cell.key.folder).exists()
        assert (log + rest).count("finished, test accuracy") == 1, "it was trained twice"
    finally:
        os.kill(server, signal.SIGCONT)


def test_the_caller_s_umask_is_the_training_s(place):
    folder, config, environment = place
    line = [*command(config, folder / "run", "--set", "recipes.digits.epochs=1.5"), "--quiet"]
    for umask, seed in (("022", "all"), ("077", "bn")):
        line[line.index(CELL[1])] = seed
        assert subprocess.run(["bash", "-c", f'umask {umask}; exec "$@"', "-", *line], env=environment).returncode == 0
        line[line.index(seed)] = CELL[1]
        made = paths.metrics(folder / "run" / paths.RESULTS / CELL[0] / seed / "seed0")
        assert made.stat().st_mode & 0o777 == 0o666 & ~int(umask, 8)
    assert len(list(servers(folder))) == 1


def test_the_caller_s_limits_are_the_training_s(place):
    """The server's first caller has other limits than the second."""
    folder, config, environment = place
    line = [*command(config, folder / "run"), "--checkpoint-seconds", "0"]
    once = [*command(config, folder / "once", "--set", "recipes.digits.epochs=1.5"), "--quiet"]
    assert subprocess.run(["bash", "-c", 'ulimit -n 512; exec "$@"', "-", *once], env=environment).returncode == 0
    limited = ["bash", "-c", 'ulimit -n 200; ulimit -f 1000000; exec "$@"', "-", *line]
    process = subprocess.Popen(limited, env=environment, stderr=subprocess.DEVNULL)
    wait_for_checkpoint(place)
    (server,) = servers(folder)
    (child,) = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    limits = Path(f"/proc/{child}/limits").read_text()
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert re.search(r"Max open files +200 +200 ", limits) and re.search(r"Max file size +1024000000 ", limits), limits


def test_a_temporary_folder_with_a_long_path(place):
    folder, config, environment = place
    long = folder / ("x" * 120)
    long.mkdir()
    line = [*command(config, folder / "run", "--set", "recipes.digits.epochs=1.5"), "--quiet"]
    assert subprocess.run(line, env={**environment, "TMPDIR": str(long)}).returncode == 0
    assert len(list(long.glob("bnonly-*/*.sock"))) == 1 and len(list(servers(long))) == 1


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_can_write_to_is_not_used(place, mode):
    folder, config, environment = place
    (folder / f"bnonly-{os.getuid()}").mkdir()
    (folder / f"bnonly-{os.getuid()}").chmod(mode)
    line = [*command(config, folder / "run", "--set", "recipes.digits.epochs=1.5"), "--quiet"]
    assert subprocess.run(line, env=environment).returncode == 0
    assert not list(servers(folder))


def test_without_a_socket_it_works_by_itself(place):
    folder, config, environment = place
    (folder / f"bnonly-{os.getuid()}").write_text("in the way")
    line = command(config, folder / "run", "--set", "recipes.digits.epochs=1.5")
    done = subprocess.run([*line, "--quiet"], env=environment, capture_output=True)
    assert done.returncode == 0
    assert paths.metrics(folder / "run" / Key(*CELL, 0).folder).exists()
