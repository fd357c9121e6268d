"""What a training keeps in memory, and a device that has too little."""

import dataclasses

import pytest
import torch
from tests.engines.cells import CPU, FAMILIES, PAPER, RECIPE, REGIMES, cells, distance, saved_bytes
from tests.mini import mini
from torch.nn import functional

from bnonly.engines import memory
from bnonly.engines.engine import make_engine
from bnonly.engines.fast.engine import FastEngine
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.grid.resolve import resolve
from bnonly.networks import regimes
from bnonly.train.options import Options
from bnonly.train.run import train_cell


@pytest.mark.parametrize(("regime", "most"), [("bn", 0.60), ("all", 1.01)])
def test_saved_activations_of_resnet_110(regime, most):
    cell = PAPER.cell("ResNet-110", regime, 0)
    x = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    stock = regimes.make(cell, 10)
    twin = regimes.make(cell, 10)
    network = Network(twin, Parameters(twin, torch.float32).of, torch.float32)
    assert 0.3 < saved_bytes(lambda: network.train(x)) / saved_bytes(lambda: stock(x)) <= most


@pytest.mark.parametrize("family", ["cifar-resnet", "imagenet-bottleneck"])
@pytest.mark.parametrize("regime", ["all", "rand2", "short_out", "bn"])
def test_made_again_instead_of_kept(regime, family, source):
    """The same gradients with fewer activations kept, where weights train."""
    cell, _ = cells(family, regime)
    x, y = next(source.train_batches(0, 0, 8))
    found = []
    for recompute in (False, True):
        model = regimes.make(cell, 10)
        parameters = Parameters(model, torch.float32)
        network = Network(model, parameters.of, torch.float32, recompute=recompute)
        kept = saved_bytes(lambda net=network: net.train(x))
        gradient = parameters.gather(
            torch.autograd.grad(functional.cross_entropy(network.train(x), y), parameters.leaves)
        )
        found.append((kept, gradient))
    (kept, gradient), (less, again) = found
    assert distance(again, gradient) < 1e-4
    assert less < 0.9 * kept if regime in ("all", "rand2") else less == kept


def test_nothing_is_kept_where_nothing_trains(source):
    """Only the output trains: no backward pass through the network; with the shortcuts, none in front of the first."""
    kept = {}
    for regime in ("bn", "short_out", "out"):
        cell = Cell(FAMILIES["cifar-resnet"], REGIMES[regime], RECIPE, 0)
        model = regimes.make(cell, 10)
        network = Network(model, Parameters(model, torch.float32).of, torch.float32)
        kept[regime] = saved_bytes(lambda net=network: net.train(torch.randn(8, 3, 16, 16)))
    assert kept["out"] == 0 < kept["short_out"] < 0.7 * kept["bn"]


def test_too_little_memory_says_what_would_fit(source, monkeypatch):
    """With just enough for the batch named, training begins; with a byte less than it needs, it does not."""
    _, cell = cells("cifar-resnet", "bn")
    need = memory.needed(cell)
    monkeypatch.setattr(memory, "size", lambda device: need)
    make_engine(cell, source, CPU)
    monkeypatch.setattr(memory, "size", lambda device: need - 1)
    with pytest.raises(
        UserError,
        match=r"a batch of 64 needs about .* GB, and the device has .*; a batch of 32 would fit; otherwise use a device with",
    ):
        make_engine(cell, source, CPU)
    smaller = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, batch_size=32))
    make_engine(smaller, source, CPU)
    monkeypatch.setattr(memory, "size", lambda device: 1000)
    with pytest.raises(UserError, match="not even a batch of 2 would fit; use a device with more memory, or more GPUs"):
        make_engine(cell, source, CPU)


@pytest.mark.parametrize(
    ("changes", "fits", "least"),
    [
        ({"batch_size": 96, "batchnorm_images": 24}, 48, 24),
        ({"batch_size": 96, "gpus": 2, "batchnorm_images": 12}, 48, 24),
        ({"batch_size": 96, "gpus": 3}, 48, 6),
    ],
)
def test_the_batch_that_would_fit_is_one_that_trains(changes, fits, least, monkeypatch):
    """Whole groups of BatchNorm's statistics on every device."""
    _, cell = cells("cifar-resnet", "bn")
    cell = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, **changes))
    need = memory.needed(cell)
    for size, message in ((need - 1, f"a batch of {fits} would"), (1000, f"not even a batch of {least} would fit")):
        monkeypatch.setattr(memory, "size", lambda device, size=size: size)
        with pytest.raises(UserError, match=f"a batch of 96 needs about .*; {message}"):
            memory.check(cell, CPU)


@pytest.mark.parametrize(
    ("exhaust", "message"),
    [
        (lambda: torch.empty(2**55), "a batch of 64 does not fit the .* GB that the device has left, though about .*"),
        (lambda: [None] * 2**60, "; try a batch of 32; otherwise use a device with more memory"),
    ],
    ids=["torch", "python"],
)
def test_memory_that_runs_out_on_a_cpu_is_said_in_one_line(exhaust, message, tmp_path, monkeypatch):
    """What the estimate did not foresee: PyTorch has no type of its own for it, as it has for a GPU's."""
    cell = resolve(mini(engine="fast", recipes__digits__batch_size=64)).cell("ResNet-8-c4", "bn", 0)
    monkeypatch.setattr(FastEngine, "train", lambda *arguments: exhaust())
    with pytest.raises(UserError, match=message) as found:
        train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))
    assert "\n" not in str(found.value)

    def fails(*arguments):
        raise RuntimeError("something else")

    monkeypatch.setattr(FastEngine, "train", fails)
    with pytest.raises(RuntimeError, match="something else"):
        train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))


@pytest.mark.parametrize(
    ("said", "limits", "least"),
    [
        ("0::/job_7/step_0\n", {"job_7/memory.max": "3000", "job_7/step_0/memory.max": "max"}, 3000),
        ("0::/elsewhere\n", {"memory.max": "5000"}, 5000),  # a container: what it is in is not seen from inside
        ("4:memory:/job_7\n2:cpu:/\n0::/\n", {"memory/job_7/memory.limit_in_bytes": "4000", "memory.max": "9"}, 9),
        ("4:memory:/job_7\n", {"memory/job_7/memory.limit_in_bytes": "4000", "cpu/memory.max": "9"}, 4000),
        (None, {}, None),
    ],
)
def test_the_limits_of_a_clusters_job_are_the_devices_size(said, limits, least, tmp_path, monkeypatch):
    whole = memory.size(CPU)
    for name, value in limits.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    if said is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(said)
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    assert memory.size(CPU) == least if least else memory.size(CPU) >= whole
    assert 0 <= memory.left(CPU) <= memory.size(CPU)


def test_imagenet_resnet_200_fits_one_h200():
    """Everything trained at batch 1024 in bf16: with outputs made again it is below what the GPU has."""
    cell = PAPER.cell("ImageNet-ResNet-200", "all", 0)
    h200 = 141e9
    assert (cell.recipe.batch_size, cell.precision) == (1024, "bf16")
    assert memory.CROWDED * h200 < memory.needed(cell) < h200
