"""Whether this machine computes in bf16, and what `precision: auto` makes of that."""

import pytest
import torch
from tests.mini import mini

from bnonly import machine
from bnonly.grid.resolve import resolve

AVX512 = "avx512f avx512bw avx512vl avx512dq"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Give this machine other features of its CPU, and GPUs with other compute capabilities."""

    def pretend(features, capabilities=()):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{features}\nprocessor\t: 1\n{features}\n")
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
        listed = [f"GPU {k}: A (UUID: GPU-{k})" for k in range(len(capabilities))]
        monkeypatch.setattr(
            machine, "_nvidia_smi", lambda first, *rest: listed if first == "-L" else list(capabilities)
        )

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return pretend


@pytest.mark.parametrize(
    ("features", "best", "runs"),
    [
        (f"flags\t\t: fpu {AVX512} avx512_bf16", "bf16", True),
        (f"flags\t\t: fpu {AVX512} amx_bf16 amx_tile", "bf16", True),
        (f"flags\t\t: fpu {AVX512}", "fp32", True),  # emulated
        ("flags\t\t: fpu avx avx2", "fp32", False),
        ("Features\t: fp asimd bf16", "bf16", True),
        ("Features\t: fp asimd", "fp32", False),
        ("", "fp32", True),  # nobody can tell
    ],
)
def test_bf16_on_a_cpu(pretend, features, best, runs):
    pretend(features)
    assert machine.best_precision() == machine.best_precision("cpu") == best
    assert machine.why_no_bf16(on_gpu=False) == (None if runs else machine.NO_BF16)


@pytest.mark.parametrize(("capabilities", "best"), [(["9.0"], "bf16"), (["8.0", "7.5"], "fp32"), (["[N/A]"], "bf16")])
def test_bf16_on_gpus(pretend, capabilities, best):
    pretend("flags : fpu", capabilities)
    assert machine.best_precision() == machine.best_precision("cuda") == best
    assert bool(machine.why_no_bf16(on_gpu=True)) == (best == "fp32")
    assert machine.best_precision("cpu") == "fp32"


def test_this_cpu_is_judged_as_torch_judges_it():
    assert (machine.why_no_bf16(on_gpu=False) is None) == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_a_machine_without_a_list_of_features(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.best_precision("cpu") == "fp32" and machine.why_no_bf16(on_gpu=False) is None


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({}, "bf16"),
        ({"device": "cpu"}, "fp32"),
        ({"engine": "reference"}, "fp32"),
        ({"cluster": {"gpu": "none"}}, "fp32"),
        ({"cluster": {"gpu": "any"}, "device": "cpu"}, "bf16"),
    ],
)
def test_auto_becomes_a_part_of_every_cell(pretend, over, expected):
    pretend("flags : fpu", ["8.0"])
    grid = resolve(mini(**{"engine": "fast", "precision": "auto"} | over))
    assert {c.precision for c in grid.cells.values()} == {grid.precision} == {expected}
