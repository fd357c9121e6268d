"""Trainings take free GPUs: each a place of its own, which ends with its process, however that ends."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.mini import mini

from bnonly import machine
from bnonly.commands import gpus
from bnonly.cost import total
from bnonly.grid.resolve import resolve

HOLD = """
import sys, time
from bnonly import machine
from bnonly.commands import gpus
gpus.PAUSE = 0.02
with gpus.taken(int(sys.argv[2])) as mine:
    began = time.monotonic()
    print(*mine, flush=True)
    time.sleep(float(sys.argv[1]))
    print(began, time.monotonic(), flush=True)
"""
UNTIL_TOLD = """
import sys
from bnonly.commands import gpus
with gpus.taken(int(sys.argv[1])) as mine:
    print(*mine, flush=True)
    sys.stdin.read()
"""
LISTED = "".join(f"GPU {k}: NVIDIA A100-SXM4-40GB (UUID: GPU-{k}a-b)\n" for k in range(4))


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A stand-in for nvidia-smi; what it lists can be changed."""

    def lists(text, status=0):
        file = tmp_path / "nvidia-smi"
        file.write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}EOF\nexit {status}\n")
        file.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", gpus.DEVICES, gpus.PLACES):
        monkeypatch.delenv(variable, raising=False)
    lists(LISTED)
    return lists


def hold(seconds, count=1):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(seconds), str(count)], stdout=subprocess.PIPE, text=True)


def most_at_a_time(spans):
    return max(sum(b <= begin < e for b, e in spans) for begin, _ in spans)


def test_eight_trainings_on_four_gpus_run_four_at_a_time_and_alone(driver):
    started = [hold(0.5) for _ in range(8)]
    spans = {}
    for process in started:
        device, times = process.communicate(timeout=60)[0].splitlines()
        spans.setdefault(device, []).append(tuple(map(float, times.split())))
    assert sorted(spans) == [f"GPU-{k}a-b" for k in range(4)]
    assert all(most_at_a_time(of_one) == 1 for of_one in spans.values())
    assert most_at_a_time([s for of_one in spans.values() for s in of_one]) <= 4


def test_places_are_shared_out_evenly(driver, monkeypatch):
    monkeypatch.setenv(gpus.PLACES, "2")
    monkeypatch.setenv(gpus.DEVICES, "0,1")
    started = [hold(60) for _ in range(4)]
    try:
        assert sorted(p.stdout.readline().strip() for p in started) == ["0", "0", "1", "1"]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("trainings", "places"),
    [
        ([(8, 1), (7, 1), (6, 1), (5, 1), (4.5, 1), (4, 1), (3, 1), (1, 1)], 1),
        ([(8, 1), (7.5, 1), (7, 1), (6.5, 1), (6, 1), (5, 1), (4, 1), (3, 1), (2, 1)], 2),
        ([(9, 1), (8, 2), (7, 4), (6, 1), (5, 2)], 1),
    ],
)
def test_the_cost_model_puts_trainings_on_the_gpus_that_they_take(driver, monkeypatch, trainings, places):
    """Trainings begin and end in the model's order; each takes the GPUs that the model says."""
    monkeypatch.setenv(gpus.PLACES, str(places))
    expected = total.turns(trainings, 4, places)
    events = [(t.begins, True, t.training) for t in expected] + [(t.ends, False, t.training) for t in expected]
    running, found = {}, {}
    try:
        for _, begins, k in sorted(events, key=lambda e: (e[0], e[1], -trainings[e[2]][0])):
            if begins:
                command = [sys.executable, "-c", UNTIL_TOLD, str(trainings[k][1])]
                running[k] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                found[k] = sorted(running[k].stdout.readline().split())
            else:
                running.pop(k).communicate(timeout=60)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert found == {t.training: [f"GPU-{gpu}a-b" for gpu in t.gpus] for t in expected}


def test_kill_9_frees_the_gpu_and_a_training_of_four_waits_for_all(driver):
    killed, other = hold(60), hold(0.3)
    assert killed.stdout.readline() and other.stdout.readline()
    four = hold(0, count=4)
    time.sleep(0.5)
    assert four.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    devices, _ = four.communicate(timeout=30)[0].splitlines()
    assert sorted(devices.split()) == [f"GPU-{k}a-b" for k in range(4)]
    other.wait()


@pytest.mark.parametrize(
    ("listed", "visible", "expected"),
    [
        (LISTED, None, [f"GPU-{k}a-b" for k in range(4)]),
        (LISTED, "2,0", ["2", "0"]),
        (LISTED, "", []),
        (LISTED, "-1", []),
        ("No devices were found\n", None, []),
        (
            "GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 1g.10gb     Device  0: (UUID: MIG-1)\n  MIG 1g.10gb     Device  1: (UUID: MIG-2)\n",
            None,
            ["MIG-1", "MIG-2"],
        ),
    ],
)  # fmt: skip
def test_which_gpus_there_are(driver, monkeypatch, listed, visible, expected):
    driver(listed)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = machine.find_gpus()
    assert [g.device for g in found] == expected
    assert all("NVIDIA" in g.name or "MIG" in g.name for g in found)


def test_no_driver_or_one_that_fails(driver, monkeypatch):
    driver("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", status=9)
    assert machine.find_gpus() == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert machine.find_gpus() == []
    with gpus.taken() as mine:
        assert mine == [] and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_in_a_cluster_s_job_the_scheduler_hands_out_gpus(driver, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.taken() as mine:
        assert mine == []


@pytest.mark.parametrize(
    ("count", "places", "cores", "threads", "said"),
    [
        (4, 1, 16, 4, "found 4 x A: trainings run 4 at a time, one on each GPU, 4 of 16 CPU cores each"),
        (4, 2, 16, 2, "found 4 x A: trainings run 8 at a time, up to 2 on each GPU, 2 of 16 CPU cores each"),
        (4, 1, 2, 1, "found 4 x A: trainings run 2 at a time, one on each GPU, 1 of 2 CPU cores each"),
        (0, 1, 8, 2, "no GPU found: 4 at a time on the CPU, 2 of 8 CPU cores each"),
    ],
)
def test_what_a_run_says_first(count, places, cores, threads, said):
    found = tuple(machine.Gpu(str(k), "A") for k in range(count))
    assert str(gpus.Devices(found, places, cores, threads)) == said


def test_device_cpu_leaves_the_gpus_alone(driver, monkeypatch):
    grid = resolve(mini(device="cpu"))
    found = gpus.Devices.of(grid, 8)
    assert str(found) == "device: cpu: 8 at a time on the CPU, 1 of 8 CPU cores each"
    assert found.environment == {gpus.DEVICE: "cpu"}
    assert len(gpus.Devices.of(resolve(mini()), 8).gpus) == 4
