"""The fast engine against the reference engine: the same training, in any precision."""

import dataclasses
import warnings

import pytest
import torch
from tests.engines.cells import CPU, FAMILIES, RECIPE, REGIMES, cells, check_same, distance
from tests.mini import mini
from torch import nn
from torch.nn import functional

from bnonly import paths
from bnonly.analysis.run import verify_cell
from bnonly.engines.engine import make_engine
from bnonly.engines.fast import fused
from bnonly.engines.fast.engine import FastEngine
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.reference import ReferenceEngine
from bnonly.errors import UserError
from bnonly.grid import families
from bnonly.grid.cell import Cell
from bnonly.grid.resolve import resolve
from bnonly.networks import regimes
from bnonly.networks.pooling import max_pool
from bnonly.results import parquet
from bnonly.train.options import Options
from bnonly.train.run import train_cell


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_steps_are_the_reference_engines(regime, family, source):
    plain, quick = cells(family, regime)
    reference, engine = ReferenceEngine(plain, source, CPU), FastEngine(quick, source, CPU)
    # The end of the epoch: its rate has dropped, its last batch is short.
    for each in (reference, engine):
        assert each.train(0, 13, 23, lambda: False) == 23
    # Deep untrained networks multiply a difference in the last bit; a mistake gives a distance of the order of 1.
    tolerance = 1e-3 if family == "cifar-resnet" else 0.05
    check_same(reference.state(), engine.state(), tolerance)
    (loss, correct, images), totals = reference.totals(), engine.totals()
    assert totals[1:] == (correct, images) and totals[0] == pytest.approx(loss, rel=1e-5)
    scores, wanted = engine.evaluate(), reference.evaluate()
    assert scores.top1 == pytest.approx(wanted.top1, abs=2 / 360) and scores.loss == pytest.approx(
        wanted.loss, rel=1e-3
    )
    # What the network itself holds is what was trained: results are written from there.
    for name, value in regimes.trainable(engine.model).items():
        assert distance(value, regimes.trainable(reference.model)[name]) <= tolerance


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", ["bn", "all"])
def test_every_layer_has_the_reference_networks_output_and_gradient(regime, family, source, monkeypatch):
    plain, _ = cells(family, regime)
    model, twin = regimes.make(plain, 10), regimes.make(plain, 10)
    parameters = Parameters(twin, torch.float32)
    network = Network(twin, parameters.of, torch.float32)
    x, y = next(source.train_batches(0, 0, 32))
    seen = {"stock": [], "fused": []}

    def keep(where, z):
        if z.requires_grad:
            z.retain_grad()
            seen[where].append(z)

    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.register_forward_pre_hook(lambda module, inputs: keep("stock", inputs[0]))
    apply = fused.norm_act
    monkeypatch.setattr(fused, "norm_act", lambda z, *rest: (keep("fused", z), apply(z, *rest))[1])
    logits = [f(x) for f in (model, network.train)]
    for each in logits:
        functional.cross_entropy(each, y).backward()
    assert distance(*logits) < 1e-4
    assert len(seen["stock"]) == len(seen["fused"]) >= 6
    # A block's shortcut comes before its layers in the one, behind them in the other.
    for mine in seen["fused"]:
        near = [t for t in seen["stock"] if t.shape == mine.shape and distance(mine, t) < 1e-4]
        assert near, f"no layer of the reference network has this output of shape {tuple(mine.shape)}"
        assert any(distance(mine.grad, t.grad) < 1e-3 for t in near)


def test_every_family_is_known_and_no_other_is_taken_for_one():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid())
            self.fc = nn.Linear(4, 10)

    assert {a.family for a in FAMILIES.values()} == set(families.FAMILIES)
    other = Other()
    with pytest.raises(UserError, match=r"\(got Other\); set engine: reference"):
        Network(other, Parameters(other, torch.float32).of, torch.float32)


@pytest.mark.parametrize(("size", "stride", "padding", "side"), [(3, 2, 1, s) for s in (2, 5, 8)] + [(2, 2, 0, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_pool_without_its_input_is_torchs(size, stride, padding, side, dtype):
    x = torch.randn(3, 4, side, side).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = functional.max_pool2d(x, size, stride, padding)
    found = max_pool(x, size, stride, padding)
    assert torch.equal(found, wanted)
    dy = torch.randn_like(wanted)
    assert torch.equal(*(torch.autograd.grad(out, x, dy)[0] for out in (found, wanted)))


def mini_fast(precision="fp32", **changes):
    return mini(engine="fast", precision=precision, **changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_anywhere_it_is_the_same_to_the_bit(precision, tmp_path, monkeypatch):
    """A checkpoint at every iteration, and the rest trained by a new engine from each of some of them."""
    from bnonly.train import checkpoint

    cell = resolve(mini_fast(precision)).cell("ResNet-8-c4", "all", 0)
    train_cell(cell, tmp_path / "whole", Options(tmp_path, "cpu", quiet=True))
    kept = []
    save = checkpoint.save

    def keep(path, *rest):
        save(path, *rest)
        kept.append(path.read_bytes())

    monkeypatch.setattr(checkpoint, "save", keep)
    train_cell(cell, tmp_path / "often", Options(tmp_path, "cpu", quiet=True, checkpoint_seconds=0))
    monkeypatch.setattr(checkpoint, "save", save)
    assert len(kept) == 24
    wanted = paths.weights(tmp_path / "whole").read_bytes()
    assert paths.weights(tmp_path / "often").read_bytes() == wanted
    for i in (0, 11, 17):
        folder = tmp_path / f"from{i}"
        folder.mkdir()
        paths.checkpoint(folder, cell.digest()).write_bytes(kept[i])
        train_cell(cell, folder, Options(tmp_path, "cpu", quiet=True))
        assert paths.weights(folder).read_bytes() == wanted
        assert parquet.read_label(paths.metrics(folder))["resumed"] == 1


def test_the_record_says_which_engine_and_precision(tmp_path):
    cell = resolve(mini_fast("bf16")).cell("ResNet-8-c4", "bn", 0)
    train_cell(cell, tmp_path, Options(tmp_path, "cpu", quiet=True))
    label = parquet.read_label(paths.metrics(tmp_path))
    assert (label["cell"]["engine"], label["cell"]["precision"]) == ("fast", "bf16")
    assert label["sessions"][0]["cuda_graphs"] is False
    assert verify_cell(tmp_path, cell, tmp_path, "cpu").agrees


@pytest.mark.slow
def test_whole_runs_in_bf16_are_as_accurate_paired_by_seed(tmp_path):
    """Twelve epochs of digits, five seeds: the mean difference is within its own error of nothing, and small."""
    found = {}
    for precision in ("fp32", "bf16"):
        config = mini_fast(precision, recipes__digits__epochs=12, recipes__digits__milestones=[6, 9])
        config["experiments"]["cifar-depth"]["seeds"] = list(range(5))
        for cell in (resolve(config).cell("ResNet-8-c4", "all", s) for s in range(5)):
            folder = tmp_path / precision / str(cell.seed)
            train_cell(cell, folder, Options(tmp_path, "cpu", quiet=True))
            table, _ = parquet.read(paths.metrics(folder), "metrics")
            found.setdefault(precision, []).append(table.column("test_top1").to_pylist()[-1])
    pairs = torch.tensor(found["bf16"]) - torch.tensor(found["fp32"])
    assert min(found["fp32"]) > 0.7
    assert abs(pairs.mean()) <= 0.01 + 2.8 * pairs.std() / 5**0.5
    assert pairs.abs().max() > 0, "bf16 that rounds nothing is not bf16"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (2000, "batch_size must be at most 1437, the training images of digits"),
        (359, "batch_size must not leave 1 of the 1437 .* last batch, because BatchNorm needs 2 or more; take 358"),
    ],
)
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_batches_that_do_not_fit_are_refused(engine, batch, message, source):
    recipe = dataclasses.replace(RECIPE, batch_size=batch)
    cell = Cell(FAMILIES["cifar-resnet"], REGIMES["bn"], recipe, 0, engine=engine)
    with pytest.raises(UserError, match=message):
        make_engine(cell, source, CPU)


def test_a_precision_the_cpu_lacks_is_refused(source, monkeypatch):
    _, cell = cells("cifar-resnet", "bn", "bf16")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(UserError, match="this CPU has no bf16 .* set precision: fp32"):
        make_engine(cell, source, CPU)


def test_kernels_that_cannot_run_are_refused(source):
    cell, _ = cells("cifar-resnet", "bn")
    with pytest.raises(UserError, match="engine: triton cannot run here .*; set engine: fast"):
        make_engine(dataclasses.replace(cell, engine="triton"), source, CPU)


def test_a_precision_needs_the_fast_engine():
    with pytest.raises(UserError, match="precision must be fp32 with engine: reference; others need engine: fast"):
        resolve(mini(precision="bf16"))


def test_no_batches_are_counted_and_no_warning_is_given(source):
    _, cell = cells("imagenet-bottleneck", "bn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = FastEngine(cell, source, CPU)
        engine.train(0, 0, 2, lambda: False)
    assert all(m.num_batches_tracked is None for m in engine.model.modules() if isinstance(m, nn.BatchNorm2d))
