"""The benchmarks that wait for a GPU, rehearsed without one."""

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
