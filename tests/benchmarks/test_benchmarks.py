"""The benchmarks that wait for a GPU, rehearsed without one."""

import csv
import os
import subprocess
import sys

import pytest
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))


def run(*arguments, timeout=600):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.mark.slow
def test_what_a_gpu_is_asked_in_miniature(tmp_path):
    parts = ("check", "runs", "engine")
    done = run("benchmarks/gpu.py", "--device", "cpu", "--minutes", 9, "--out", tmp_path, "--parts", *parts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.endswith(": done")] == [f"{p}: done" for p in parts]
    found = {p.name: p.read_text() for p in tmp_path.glob("*.md")}
    assert set(found) == {"check-cpu.md", "runs-cpu.md", "engine-cpu.md"}
    assert "0 of 14 wrong" in found["check-cpu.md"]
    assert found["runs-cpu.md"].count("| ResNet-14 |") == 2
    assert found["engine-cpu.md"].count("| ResNet-14 | bn | 16 |") == 1
    assert "failed" not in found["engine-cpu.md"]


def test_a_wrong_gradient_is_seen():
    import torch
    from gpu import distance

    right = {"momentum": {"a": torch.randn(9), "b": 1e-9 * torch.randn(9)}}
    noise = {"momentum": {"a": right["momentum"]["a"], "b": 1e-9 * torch.randn(9)}}
    wrong = {"momentum": {"a": -right["momentum"]["a"], "b": right["momentum"]["b"]}}
    assert distance(noise, right, "momentum") < 1e-5
    assert distance(wrong, right, "momentum") == pytest.approx(2)


@pytest.mark.parametrize(("found", "status"), [(0, 0), (1, 1), (124, 1), (-11, 1)])
def test_checks_that_do_not_end_well_show_in_the_exit_status(found, status, tmp_path, monkeypatch):
    """A GPU's fault or a deadlock ends the process that checks."""
    import gpu

    monkeypatch.setattr(gpu, "run", lambda command, *how, **options: (found if "check" in command else 3, "", ""))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--out", str(tmp_path), "--parts", "check", "runs"])
    assert gpu.main() == status


@pytest.mark.parametrize("place", range(3))
def test_not_a_number_is_no_small_distance(place):
    import torch
    from gpu import distance, furthest

    right = {part: {n: torch.ones(4) for n in "abc"} for part in ("momentum", "buffers")}
    wrong = {part: {n: v.clone() for n, v in right[part].items()} for part in right}
    wrong["buffers"]["abc"[place]][1] = float("nan")
    assert not distance(wrong, right, "buffers") <= 1e9
    assert not furthest(wrong, right) <= 1e9
    assert furthest(right, right) == 0


def test_programs_find_the_package_without_its_being_installed(monkeypatch):
    from common import run as limited

    monkeypatch.delenv("PYTHONPATH", raising=False)
    status, out, errors = limited(["-c", "import bnonly; print(bnonly.__file__)"], 60)
    assert status == 0, errors
    assert out.startswith(str(ROOT / "src"))


@pytest.mark.parametrize(
    ("end", "found"),
    [
        ("print(json.dumps({'images_per_second': 8.0}))", {"images_per_second": 8.0}),
        ("os.kill(os.getpid(), 11)", {"images_per_second": 7.0}),
        ("time.sleep(60)", {"images_per_second": 7.0}),
    ],
)
def test_a_measurement_survives_what_happens_after_it(tmp_path, monkeypatch, end, found):
    import engine

    script = tmp_path / "measures.py"
    script.write_text(f"import json, os, time\nprint(json.dumps({{'images_per_second': 7.0}}), flush=True)\n{end}\n")
    monkeypatch.setattr(engine, "__file__", str(script))
    assert engine.attempt({"batch": 8}, 3) == {"batch": 8, **found}


def test_a_batch_that_does_not_fit_is_halved_whatever_the_length_of_the_message(tmp_path, monkeypatch):
    import engine

    script = tmp_path / "measures.py"
    script.write_text(
        "import json, sys\n"
        "task = json.loads(sys.argv[2])\n"
        "if task['batch'] > 2: sys.exit('x' * 300 + '; a batch of 2 would fit')\n"
        "print(json.dumps({'images_per_second': 1.0}))\n"
    )
    monkeypatch.setattr(engine, "__file__", str(script))
    assert engine.attempt({"batch": 8}, 30) == {"batch": 2, "images_per_second": 1.0}


def test_a_program_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    from common import run as limited

    script = tmp_path / "starts.py"
    child = "import time; time.sleep(1); open('left', 'w')"
    script.write_text(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], cwd={str(tmp_path)!r})"
    )
    status, _, errors = limited([script], 0.5)
    assert status == 124 and "took more than" in errors
    import time

    time.sleep(1.5)
    assert not (tmp_path / "left").exists()


def test_what_is_built_ahead_is_ended_with_what_needs_it(monkeypatch):
    import gpu

    commands, running = [], []

    def started(command, **how):
        commands.append(command[1:])
        running.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **how))
        return running[-1]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", started)
    with gpu.building((9, 0)):
        assert all(p.poll() is None for p in running)
    assert all(p.poll() is not None for p in running)
    assert len(commands) == 6
    assert all(c[0].endswith("kernels.py") and c[1:3] == ["--compile", "90"] for c in commands)


@pytest.mark.parametrize("script", ["gpu.py", "engine.py --device cuda", "precision.py --device cuda"])
def test_without_a_gpu_one_line_says_so(script):
    done = run(*f"benchmarks/{script}".split())
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_data_that_are_not_there_are_one_line(tmp_path):
    done = run("benchmarks/precision.py", "--dataset", "cifar10", "--data", tmp_path / "none", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "--data" in done.stderr


def test_images_that_are_not_there_end_it_before_anything_is_measured(tmp_path):
    done = run("benchmarks/gpu.py", "--device", "cpu", "--images", tmp_path / "none", "--out", tmp_path / "out")
    assert done.returncode == 2 and "== " not in done.stdout
    assert "no such file or folder" in done.stderr and done.stderr.count("\n") == 1


def test_what_each_network_took_is_read_from_the_records(tmp_path, monkeypatch, capsys):
    from tests.mini import mini, write

    import networks
    from bnonly.commands import cli

    monkeypatch.chdir(tmp_path)
    write(tmp_path, mini())
    for regime in ("bn", "all"):
        assert cli.run(["train", "ResNet-8-c4", regime, "--quiet"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(networks, "RESULTS", tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["networks.py", str(tmp_path)])
    networks.main()
    (row,) = csv.DictReader((tmp_path / f"out/networks-{tmp_path.name}.csv").open())
    weights = [p.stat().st_size for p in tmp_path.glob("results/*/*/seed0/weights.safetensors")]
    assert (row["network"], row["trainings"]) == ("ResNet-8-c4", "2") and len(weights) == 2
    assert float(row["largest_mb"]) == pytest.approx(max(weights) / 1e6, abs=0.01)
    assert float(row["seconds_to_build"]) > 0 and float(row["memory_mb"]) > 10
    assert "| ResNet-8-c4 | 2 |" in capsys.readouterr().out
