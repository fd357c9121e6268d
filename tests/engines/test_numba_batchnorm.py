"""The kernels that Numba compiles: the same network as PyTorch's own, whatever the shape, the regime and the threads."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest
import torch
from tests.engines.cells import CPU, FAMILIES, PAPER, RECIPE, ROOT, cells, check_same, distance, saved_bytes
from tests.mini import mini
from torch import nn
from torch.nn import functional

from bnonly.analysis.run import verify_cell
from bnonly.engines.fast import choice, fused, numba_batchnorm
from bnonly.engines.fast.engine import FastEngine
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.reference import ReferenceEngine
from bnonly.errors import UserError
from bnonly.networks import regimes
from bnonly.train.options import Options
from bnonly.train.run import train_cell

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
#: Images, channels, height, width: rows of one pixel and of many, one block and several, more channels than a row has.
SHAPES = [(6, 3, 1, 1), (7, 5, 3, 3), (64, 16, 8, 8), (33, 16, 32, 32), (9, 64, 5, 7), (4, 600, 2, 2), (3, 1, 1, 2)]


@pytest.fixture
def always(monkeypatch):
    """Compiled kernels for trainings of any length."""
    monkeypatch.setattr(choice, "WORTH", 0)


def parameters(channels):
    """A scale and a shift for every channel."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(channels, generator=generator) for _ in range(2)]


def applied(inputs, relu=True):
    """Outputs and gradients of BatchNorm, the shortcut and ReLU, the output taken by two."""
    x, residual, first, second = (None if t is None else t.clone() for t in inputs)
    norm = nn.BatchNorm2d(x.shape[1])
    norm.weight, norm.bias = (nn.Parameter(p) for p in parameters(x.shape[1]))
    leaves = [t.requires_grad_() for t in (x, norm.weight, norm.bias, residual) if t is not None]
    y, again = fused.norm_act(x, norm, residual, relu, False, fused.Statistics("numba"))
    loss = (y * first).float().sum() + (again * second).float().sum()
    return [y.detach().clone(), norm.running_mean, norm.running_var, *torch.autograd.grad(loss, leaves)]


def exact(inputs, relu=True):
    """The same by the definition, in double precision."""
    x, residual, first, second = (None if t is None else t.double() for t in inputs)
    gamma, beta = (p.double() for p in parameters(x.shape[1]))
    leaves = [t.requires_grad_() for t in (x, gamma, beta, residual) if t is not None]
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    of_channel = [v[:, None, None] for v in (mean, (var + 1e-5).rsqrt() * gamma, beta)]
    y = (x - of_channel[0]) * of_channel[1] + of_channel[2] + (0 if residual is None else residual)
    y = y.relu() if relu else y
    n = x.numel() / x.shape[1]
    running = [0.1 * mean.detach(), 0.9 + 0.1 * var.detach() * n / (n - 1)]
    return [y.detach(), *running, *torch.autograd.grad((y * (first + second)).sum(), leaves)]


@DTYPES
@pytest.mark.parametrize("way", ["relu", "plain", "shortcut"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_outputs_and_gradients_are_the_definitions(shape, way, dtype):
    torch.manual_seed(0)
    # Far from zero: sums of squares would lose the variance.
    inputs = [(torch.randn(shape) + 30).to(dtype), *(torch.randn(shape).to(dtype) for _ in range(3))]
    inputs = [t.contiguous(memory_format=torch.channels_last) for t in inputs]
    if way != "shortcut":
        inputs[1] = None
    options = {"relu": way != "plain"}
    found, wanted = applied(inputs, **options), exact(inputs, **options)
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    names = ["y", "mean", "var", "dx", "dgamma", "dbeta", "dresidual"][: len(wanted)]
    for name, mine, right in zip(names, found, wanted, strict=True):
        off = (mine.double() - right).norm() / (right.norm() + 1e-3)
        assert off < tolerance, f"{name}: {off}"


@DTYPES
def test_the_number_of_threads_changes_no_bit(dtype):
    torch.manual_seed(0)
    inputs = [torch.randn(33, 16, 16, 16).to(dtype) for _ in range(4)]
    found = []
    for threads in (1, 2, 1):
        numba_batchnorm.use_threads(threads)
        assert torch.get_num_threads() == threads, "Numba's threads are not PyTorch's"
        found.append(applied(inputs))
    for one, two, again in zip(*found, strict=True):
        assert torch.equal(one, two) and torch.equal(one, again)


def test_bfloat16_is_rounded_as_pytorch_rounds():
    values = torch.cat((torch.randn(50_000), torch.arange(2**15, dtype=torch.int32).mul(77_777).view(torch.float32)))
    ties = (torch.arange(1, 2001, dtype=torch.int32).mul(65536) + 0x3F808000).view(torch.float32)
    values = torch.cat((values, ties, torch.tensor([float("inf"), float("nan"), 3.4e38, 1e-45, -0.0])))
    values = values[: values.numel() // 16 * 16].reshape(-1, 16, 1, 1)
    norm = nn.BatchNorm2d(16, eps=0.0)
    held = values.to(torch.bfloat16)
    # x * 1 + 0, and the shortcut in full precision is what is rounded.
    with torch.no_grad():
        norm.weight.fill_(1.0)
    for scale in (1.0, 1 / 3, 0.7):
        with torch.no_grad():
            norm.weight.fill_(scale)
        wanted = (held.float() * torch.tensor(scale)).to(torch.bfloat16)
        found = numba_batchnorm.apply_running(held.clone(), norm, None, relu=False)
        assert torch.equal(torch.nan_to_num(found.float(), 7.0), torch.nan_to_num(wanted.float(), 7.0))


@DTYPES
def test_what_is_not_a_number_stays_none(dtype):
    """A diverged training must not look like one whose units are dead."""
    x = torch.randn(8, 16, 4, 4).to(dtype)
    x[3, 5, 1, 1] = float("nan")
    y = applied([x, None, x, x])[0]
    assert y[:, 5].isnan().all() and not y[:, :5].isnan().any()
    norm = nn.BatchNorm2d(16)
    assert numba_batchnorm.apply_running(x.clone(), norm, None, relu=True)[3, 5, 1, 1].isnan()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", ["bn", "all", "rand2_out", "short_out", "out"])
def test_ten_steps_are_the_reference_engines(regime, family, source, always):
    plain, quick = cells(family, regime)
    reference, engine = ReferenceEngine(plain, source, CPU), FastEngine(quick, source, CPU)
    assert engine.facts()["kernels"] == "numba"
    for each in (reference, engine):
        each.train(0, 13, 23, lambda: False)
    check_same(reference.state(), engine.state(), 0.05)
    scores, wanted = engine.evaluate(), reference.evaluate()
    assert scores.top1 == pytest.approx(wanted.top1, abs=2 / 360)
    assert scores.loss == pytest.approx(wanted.loss, rel=1e-3)


@pytest.mark.parametrize(("regime", "most"), [("bn", 0.53), ("all", 1.02)])
@DTYPES
def test_saved_activations_of_resnet_110(regime, most, dtype):
    cell = PAPER.cell("ResNet-110", regime, 0)
    x = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model = regimes.make(cell, 10)
    network = Network(model, Parameters(model, dtype).of, dtype, fused.Statistics("numba"))
    stock = saved_bytes(lambda: regimes.make(cell, 10)(x)) * dtype.itemsize / 4
    assert 0.3 < saved_bytes(lambda: network.train(x), masks=True) / stock <= most


@DTYPES
@pytest.mark.parametrize("kernels", ["torch", "numba"])
def test_stride_of_one_pixel(kernels, dtype):
    """oneDNN leaves parts of the weight's gradient unwritten there, in bfloat16: memory full of NaN shows it."""
    torch.manual_seed(0)
    like = nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False)
    x = torch.randn(16, 32, 1, 1).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = like.weight.detach().to(dtype).requires_grad_()
    y = fused.conv(x, weight, None, like)
    waste = [torch.full((n,), float("nan")) for n in (32 * 32 * 9, 32 * 32 * 9 // 2, 64_000) for _ in range(4)]
    del waste
    (found,) = torch.autograd.grad(y.float().sum(), weight)
    exact = weight.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(functional.conv2d(x.double(), exact, None, 2, 1).sum(), exact)
    assert distance(found.double(), wanted) < 0.01


def test_short_trainings_do_without(source):
    """Loading Numba takes longer than a cell of the demo."""
    _, cell = cells("cifar-resnet", "bn")
    assert choice.choose_backend(cell, CPU) == "torch"
    long = dataclasses.replace(cell, recipe=dataclasses.replace(RECIPE, epochs=100_000))
    assert choice.choose_backend(long, CPU) == "numba"
    assert choice.choose_backend(long, torch.device("cuda")) == "torch"
    shared = dataclasses.replace(long, recipe=dataclasses.replace(long.recipe, batchnorm="synchronised", gpus=2))
    assert choice.choose_backend(shared, CPU) == "torch"


def test_without_numba_training_stops_in_one_line(always, monkeypatch):
    """Another backend would give other numbers under the same name."""
    _, cell = cells("cifar-resnet", "bn")
    monkeypatch.setitem(sys.modules, "bnonly.engines.fast.numba_batchnorm", None)
    monkeypatch.delattr("bnonly.engines.fast.numba_batchnorm", raising=False)
    with pytest.raises(UserError, match="Numba cannot compile .* reinstall numba .* or set engine: reference") as found:
        choice.choose_backend(cell, CPU)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("problem", [ValueError("No threading layer"), RuntimeError])
def test_with_a_numba_that_does_not_work_training_stops_in_one_line(problem, always, monkeypatch):
    _, cell = cells("cifar-resnet", "bn")

    def fails(dtype):
        raise problem

    monkeypatch.setattr(numba_batchnorm, "_functions", [])  # whose cache would be out of use afterwards
    monkeypatch.setattr(numba_batchnorm, "_try_out", fails)
    with pytest.raises(UserError, match=r"Numba cannot compile .* \((No threading layer|RuntimeError)\)"):
        choice.choose_backend(cell, CPU)


#: Trains two steps where compiled code can be kept, and prints their numbers; argument: whether files can be written.
TWO_STEPS = """
import resource, sys, warnings
from pathlib import Path
from tests.engines.cells import CPU, cells
from bnonly.data import open_source
from bnonly.engines.fast import choice
from bnonly.engines.fast.engine import FastEngine

choice.WORTH = 0
if sys.argv[1] == "full":
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
_, cell = cells("cifar-resnet", "bn")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    engine = FastEngine(cell, open_source(cell.recipe, Path(), CPU), CPU)
engine.train(0, 0, 2, lambda: False)
print(engine.facts()["kernels"], engine.totals()[0].hex(), *(str(w.message) for w in said))
"""


@pytest.mark.slow
def test_where_compiled_code_cannot_be_kept_the_numbers_are_the_same(tmp_path):
    """A disk that is full, and no folder that can be written: a read-only clone and no home."""

    def train(how, **environment):
        environment = {**os.environ, **environment}
        command = [sys.executable, "-c", TWO_STEPS, how]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(maxsplit=2)

    kept = train("kept")
    assert kept[0] == "numba" and len(kept) == 2
    full = train("full", NUMBA_CACHE_DIR=str(tmp_path))
    no_folder = train("kept", NUMBA_CACHE_DIR="/proc/none", NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator")
    for found in (full, no_folder):
        assert found[:2] == kept
        assert "Numba cannot keep its compiled code" in found[2]


def test_a_run_continues_with_the_backend_that_it_began_with(tmp_path, monkeypatch):
    from bnonly import paths
    from bnonly.grid.resolve import resolve
    from bnonly.train import checkpoint
    from bnonly.train.stop import Stopped

    cell = resolve(mini(engine="fast")).cell("ResNet-8-c4", "rand2", 0)
    train, calls = FastEngine.train, []

    def stops(self, *arguments):
        calls.append(os.kill(os.getpid(), signal.SIGTERM))
        return train(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FastEngine, "train", stops)
        with pytest.raises(Stopped):
            train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))
    with monkeypatch.context() as patch:
        patch.setattr(choice, "WORTH", 0)
        with pytest.raises(
            UserError, match="computed on cpu with backend torch, and this process computes on cpu with"
        ):
            train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))
    path = paths.checkpoint(tmp_path, cell.digest())
    content = checkpoint.load(path, cell)
    content["history"]["sessions"][-1]["device"] = "cuda"
    checkpoint.save(path, cell, {k: v for k, v in content.items() if k not in ("digest", "cell")})
    with pytest.raises(UserError, match="on cpu .*; continue it on cuda with backend torch, or delete it to train"):
        train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_it_is_the_same_to_the_bit_and_verified(precision, tmp_path, always, monkeypatch):
    from bnonly import paths
    from bnonly.grid.resolve import resolve
    from bnonly.results import parquet
    from bnonly.train import checkpoint

    cell = resolve(mini(engine="fast", precision=precision)).cell("ResNet-8-c4", "rand2", 0)
    kept = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, *rest: (save(path, *rest), kept.append(path.read_bytes())))
    train_cell(cell, tmp_path / "whole", Options(tmp_path, "cpu", quiet=True, checkpoint_seconds=0))
    monkeypatch.setattr(checkpoint, "save", save)
    folder = tmp_path / "again"
    folder.mkdir()
    paths.checkpoint(folder, cell.digest()).write_bytes(kept[11])
    train_cell(cell, folder, Options(tmp_path, "cpu", quiet=True))
    assert paths.weights(folder).read_bytes() == paths.weights(tmp_path / "whole").read_bytes()
    label = parquet.read_label(paths.metrics(folder))
    assert [s["kernels"] for s in label["sessions"]] == ["numba", "numba"]
    verified = verify_cell(folder, cell, tmp_path, "cpu")
    assert verified.recorded == verified.rebuilt
