"""Every kernel beside torch, in Triton's interpreter; and that they build for the GPUs they are for."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from packaging.version import Version
from tests.conftest import ROOT

from bnonly.engines import triton
from bnonly.engines.triton import shapes

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
from importlib.metadata import version

#: The older interpreter cannot loop to a bound that is known at run time only.
pytestmark = pytest.mark.skipif(Version(version("triton")) < Version("3.7"), reason="needs Triton 3.7's interpreter")

GROUPS = {"bn_relu": 60, "sgd": 3, "augmentation": 24, "convolution": 60, "network": 12}


def run(*arguments, **options):
    """Triton has to be told to interpret before it is imported: a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""} | options
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_kernels_compute_what_torch_does():
    """All in one test: they take most of a minute, whichever are asked for."""
    done = run("benchmarks/kernel_checks.py", "--interpret")
    assert done.returncode in (0, 1), done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "all passed" and not [line for line in lines if not line.startswith("ok ")]
    for group, least in GROUPS.items():
        assert len([line for line in lines if line.split()[1].startswith(group)]) >= least, (
            f"checks of {group} are missing"
        )


def test_a_wrong_result_is_seen():
    from bnonly.engines.triton.trial import Result, error

    right = torch.randn(50)
    assert Result("", error(right, right), 0).ok
    assert not Result("", error(right * 1.01, right), 1e-3).ok
    assert not Result("", error(right * float("nan"), right), 1e9).ok


@pytest.mark.parametrize("errors", [[float("nan"), 1.0, 2.0], [1.0, float("nan"), 2.0], [2.0, 1.0, float("nan")]])
def test_not_a_number_is_the_largest_of_errors(errors, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from kernel_checks import largest

    from bnonly.engines.triton.trial import Result

    assert not Result("", largest(errors), 1e9).ok
    assert largest([1.0, 2.0, 0.5]) == 2 and largest([]) == 0


def test_every_case_of_the_benchmark_is_compiled(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import kernels as benchmark

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend="eager", **how))
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    before = config.recompile_limit, config.fail_on_recompile_limit_hit
    try:
        setting = benchmark.Setting(torch.device("cpu"), torch.float32)
        counters.clear()
        for size in range(3, 15):

            def stock(x):
                return x.relu() + 1

            benchmark.compiled(setting, stock)(torch.ones(size))
        assert counters["stats"]["unique_graphs"] == 12
    finally:
        config.recompile_limit, config.fail_on_recompile_limit_hit = before
        torch._dynamo.reset()


@pytest.mark.slow
def test_kernels_build_for_an_h200_without_spilling(tmp_path):
    done = run(
        ROOT / "benchmarks/kernels.py", "--compile", "90", "--only", "^(?!ResNet)", TRITON_CACHE_DIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "_kernel |" in line]
    names = {r[0] for r in rows}
    assert names == {
        "apply_kernel", "augment_kernel", "backward_kernel", "forward_kernel", "reduce_kernel", "sgd_kernel",
        "statistics_kernel",
    }  # fmt: skip
    assert all(int(r[3]) == 0 for r in rows), "a kernel spills registers"
    assert {r[6] for r in rows if r[0] == "forward_kernel"} == {"wgmma"}
    assert all(int(r[4]) <= 227 * 1024 for r in rows)


@pytest.mark.parametrize("command", ["benchmarks/kernel_checks.py", "benchmarks/kernels.py"])
def test_without_a_gpu_one_line_says_so(command):
    done = run(command)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_kernels_are_not_for_amd_gpus(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert triton.why_not.__wrapped__(torch.device("cuda")) == "the kernels are for NVIDIA GPUs only"


def test_kernels_are_not_for_cpus():
    assert "not a CUDA device" in triton.why_not(torch.device("cpu"))


@pytest.mark.parametrize("count", [1, 7, 2048, 131072, 3211264])
@pytest.mark.parametrize("channels", [2, 16, 70, 512])
def test_every_row_belongs_to_one_part(count, channels):
    plan = shapes.rows(count, channels)
    each = plan.tiles * plan.tile_rows
    assert (plan.parts - 1) * each < count <= plan.parts * each
    assert (plan.blocks - 1) * plan.tile_channels < channels <= plan.blocks * plan.tile_channels
    assert plan.parts * plan.blocks <= shapes.PROGRAMS + plan.blocks


@pytest.mark.parametrize("channels", [16, 64, 512])
@pytest.mark.parametrize("positions", [80 * 64, 128 * 1024])
def test_a_product_is_cut_into_whole_tiles(positions, channels):
    plan = shapes.product(positions, channels, channels)
    assert plan.rows.tile_channels * plan.rows.blocks == channels
    assert channels % plan.inner == 0
    assert min(plan.rows.tile_rows, plan.rows.tile_channels, plan.inner) >= 16  # the smallest product there is


def test_bytes_of_a_block_are_those_of_the_model():
    """15 elements of a convolution's output where BatchNorm trains: forward 6, backward 9, and bits."""
    forward = shapes.conv_forward_bytes(1, 1, 2, True) + shapes.conv_forward_bytes(1, 1, 2, False)
    backward = shapes.conv_backward_bytes(1, 1, 2, True, True) + shapes.conv_backward_bytes(1, 1, 2, False, False)
    assert forward == 6 * 2 + 1 / 8
    assert backward == 9 * 2 + 1 / 8


ENGINE = """
import os, sys
os.environ["TRITON_INTERPRET"] = "1"
import torch
from torch.nn import functional
from bnonly.networks import regimes
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.grid.resolve import load_grid
from bnonly.engines.fast.fused import Statistics
from bnonly.engines.triton import trial
from bnonly.grid.cell import Architecture, Cell
family, depth, channels, name = sys.argv[1:]
regime = load_grid("config.yaml").cell("ResNet-14", name, 0)
cell = Cell(Architecture("a", family, int(depth), int(channels)), regime.regime, regime.recipe, 0)
torch.manual_seed(0)
x = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
y = torch.randint(10, (4,))
found = []
for kernels in ("torch", "triton"):
    model = regimes.make(cell, 10)
    parameters = Parameters(model, torch.float32)
    network = Network(model, parameters.of, torch.float32, Statistics(kernels))
    with trial.cut(PROGRAMS=4, FILLING=1):
        logits = network.train(x)
        loss = functional.cross_entropy(logits, y)
        gradient = parameters.gather(torch.autograd.grad(loss, parameters.leaves))
    buffers = torch.cat(list(regimes.buffers(model).values()))
    found.append((logits.detach(), gradient, buffers))
for a, b in zip(*found):
    print(float((a - b).norm() / a.norm()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        ("cifar-resnet", 8, 16, "rand2_out"),  # fused blocks
        ("cifar-resnet", 8, 4, "all"),  # layer by layer
    ],
)
def test_the_engines_network_trains_the_same_with_kernels(network):
    done = run("-c", ENGINE, *network)
    assert done.returncode == 0, done.stderr
    distances = [float(line) for line in done.stdout.split()]
    assert len(distances) == 3 and max(distances) < 1e-4, distances


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "holds"),
    [
        # Fused blocks, the model axis: then one of them goes on alone.
        (
            ("bn_short_out", "fp32", 16),
            ["in the same launches", "the same as alone, to the bit", "close to the engine without kernels"],
        ),
        # Layer by layer: one after the other.
        (("all", "bf16", 4), ["the same as alone, to the bit"]),
    ],
)
def test_replicates_are_what_they_are_alone(how, holds):
    done = run("-m", "tests.engines.replicates", *how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == holds
