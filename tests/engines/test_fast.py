"""The fast engine against the reference engine: the same training, on any device, captured or not."""

import dataclasses
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.mini import mini
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from bnonly import paths
from bnonly.analysis.run import verify_cell
from bnonly.data import open_source
from bnonly.engines import memory
from bnonly.engines.engine import make_engine
from bnonly.engines.fast import engine as fast_engine
from bnonly.engines.fast import fused, graph
from bnonly.engines.fast.engine import FastEngine
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.reference import ReferenceEngine
from bnonly.errors import UserError
from bnonly.grid import families
from bnonly.grid.cell import Architecture, Cell, Recipe
from bnonly.grid.resolve import load_grid, resolve
from bnonly.networks import regimes
from bnonly.networks.pooling import max_pool
from bnonly.results import parquet
from bnonly.train.options import Options
from bnonly.train.run import train_cell

ROOT = Path(__file__).parents[2]
PAPER = load_grid(ROOT / "config.yaml")
REGIMES = {c.regime.name: c.regime for c in PAPER.cells.values()}
CPU = torch.device("cpu")
FAMILIES = {
    "cifar-resnet": Architecture("a", "cifar-resnet", 8, 16),
    "vgg": Architecture("a", "vgg", 11, 4),
    "imagenet-basic": Architecture("a", "imagenet-resnet", 10, 16),
    "imagenet-bottleneck": Architecture("a", "imagenet-resnet", 50, 16),
}
#: 1,437 images: 22 whole batches and a short one.
RECIPE = Recipe("digits", 2.0, 64, 0.1, (0.5,), image_size=16, weight_decay=1e-3)


@pytest.fixture(scope="module")
def source():
    return open_source(RECIPE, ROOT, CPU)


def cells(family, regime, precision="fp32"):
    # Fifty untrained layers have gradients so steep that a rounding error grows a thousandfold in a step of any length.
    recipe = dataclasses.replace(RECIPE, lr={"imagenet-basic": 1e-3, "imagenet-bottleneck": 1e-9}.get(family, 0.01))
    cell = Cell(FAMILIES[family], REGIMES[regime], recipe, seed=3)
    return cell, dataclasses.replace(cell, engine="fast", precision=precision)


def distance(a, b):
    """Relative distance of two tensors."""
    return float(((a - b).norm() / (b.norm() + 1e-12)).detach())


def check_same(mine, theirs, tolerance):
    """The same tensors by name, up to rounding."""
    assert mine.keys() == theirs.keys()
    for part in mine:
        assert mine[part].keys() == theirs[part].keys()
        for name, value in mine[part].items():
            assert distance(value, theirs[part][name]) <= tolerance, f"{part} {name}"


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


def saved_bytes(forward, masks=False):
    """Bytes of the activations that a forward pass keeps for the backward pass, each memory counted once; or masks, too."""
    kept = {}

    def pack(tensor):
        if (tensor.dim() == 4 and tensor.shape[0] == 8) or (masks and tensor.dtype == torch.uint8):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with saved_tensors_hooks(pack, lambda t: t):
        loss = forward()
    total = sum(size for size, _ in kept.values())
    loss.sum().backward()
    return total


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


@pytest.mark.parametrize(("size", "stride", "padding", "side"), [(3, 2, 1, s) for s in (2, 5, 8)] + [(2, 2, 0, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_pool_without_its_input_is_torchs(size, stride, padding, side, dtype):
    x = torch.randn(3, 4, side, side).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = functional.max_pool2d(x, size, stride, padding)
    found = max_pool(x, size, stride, padding)
    assert torch.equal(found, wanted)
    dy = torch.randn_like(wanted)
    assert torch.equal(*(torch.autograd.grad(out, x, dy)[0] for out in (found, wanted)))


class Replayed:
    """A captured graph without a GPU: the body runs at every replay; capturing leaves the state as it was."""

    made = 0

    def __init__(self, body, state, pool):
        graph.warm_up(body, state)
        type(self).made += 1
        self.pool, self._body = (0, 0), body

    def __call__(self):
        self._body()


@pytest.mark.parametrize("regime", ["bn", "all", "rand2_out", "out"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bodies_of_the_graphs_do_what_the_plain_loop_does(regime, precision, source, monkeypatch):
    """Places, rates and totals kept on the device: whole batches, the short one, a second epoch, testing."""
    _, cell = cells("cifar-resnet", regime, precision)
    monkeypatch.setattr(fast_engine, "Captured", Replayed)
    plain, graphed = FastEngine(cell, source, CPU), FastEngine(cell, source, CPU)
    graphed._graphs = fast_engine._Graphs([graphed])
    before = Replayed.made
    for engine in (plain, graphed):
        engine.train(0, 20, 23, lambda: False)
        engine.train(1, 0, 2, lambda: False)
    assert Replayed.made == before + 2 and graphed.facts()["cuda_graphs"]
    check_same(plain.state(), graphed.state(), 1e-6)
    assert plain.totals() == pytest.approx(graphed.totals())
    assert dataclasses.astuple(plain.evaluate()) == pytest.approx(dataclasses.astuple(graphed.evaluate()), rel=1e-5)


class Asked(TorchDispatchMode):
    """Counts operations, by name, that launch something: neither views nor memory."""

    NOTHING = (
        "view",
        "permute",
        "expand",
        "detach",
        "unsqueeze",
        "squeeze",
        "select",
        "slice",
        "empty",
        "as_strided",
        "t",
    )

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "index" and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
            name = "index by a mask"  # how many are chosen only the device knows
        if name == "_to_copy" and (kwargs or {}).get("device") not in (None, args[0].device):
            name = "copy between devices"
        self.seen[name] += name not in self.NOTHING
        return func(*args, **(kwargs or {}))


#: What makes the host wait for a device, or copies from it: none may be captured.
WAITS = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique2", "_unique2", "lift_fresh",
    "repeat_interleave", "bincount", "index by a mask", "copy between devices",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", ["bn", "all", "rand2_out", "short_out", "out"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_captured_asks_nothing_of_the_host(regime, precision, family, source):
    _, cell = cells(family, regime, precision)
    engine = FastEngine(cell, source, CPU)
    graphs = fast_engine._Graphs([engine])
    graphs.steps(0, 0)
    with Asked() as training:
        graphs._train(64)
    graphs._place.zero_()
    with Asked() as testing:
        graphs._test(100)
    assert training.seen["convolution"] and testing.seen["convolution"]
    assert not WAITS & set(+training.seen), training.seen
    # A CPU's batch of testing comes in memory of NumPy's; a GPU's does not.
    assert not (WAITS - {"lift_fresh"}) & set(+testing.seen), testing.seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", ["bn", "all", "rand2_out", "out"])
def test_every_tensor_of_a_step_is_on_its_device(regime, family):
    """PyTorch's device without data refuses tensors of another, as a GPU does; shapes and types are checked there, too."""
    nowhere = torch.device("meta")
    _, cell = cells(family, regime, "bf16")
    engine = FastEngine(cell, open_source(RECIPE, ROOT, nowhere), nowhere)
    engine._graphs = graphs = fast_engine._Graphs([engine])
    graphs._ready = {("train", 64): None, ("train", 29): None}  # as after captures that failed
    step = graphs.steps(0, 21)
    assert [step(21), step(22)] == [64, 29]
    graphs._test(100)
    for tensor in (*engine.changing(), *engine._parameters.leaves):
        assert tensor.device == nowhere


@pytest.mark.parametrize(("regime", "layer", "least"), [("bn", 8, 6), ("all", 8, 6), ("out", 5, 3)])
def test_launches_of_a_step(regime, layer, least, source):
    """Deep networks cost what their layers launch: the difference between two depths, and what a step has beside it."""
    found = []
    for depth in (8, 14):
        cell = dataclasses.replace(
            cells("cifar-resnet", regime, "bf16")[1], architecture=Architecture("a", "cifar-resnet", depth, 4)
        )
        graphs = fast_engine._Graphs([engine := FastEngine(cell, source, CPU)])
        graphs.steps(0, 0)
        with Asked() as step:
            graphs._train(64)
        found.append(step.seen.total())
        del engine
    each = (found[1] - found[0]) / 6
    assert least <= each <= layer
    assert found[0] - 9 * each <= 30


def test_streamed_batches_go_through_the_graphs_inputs(source, monkeypatch):
    _, cell = cells("cifar-resnet", "bn")
    monkeypatch.setattr(fast_engine, "Captured", Replayed)
    plain, graphed = FastEngine(cell, source, CPU), FastEngine(cell, source, CPU)
    graphed._graphs = fast_engine._Graphs([graphed])
    graphed._graphs._arrays = None
    for engine in (plain, graphed):
        engine.train(0, 20, 23, lambda: False)
    check_same(plain.state(), graphed.state(), 1e-6)


def test_a_capture_that_fails_is_said_and_changes_no_number(source, monkeypatch):
    _, cell = cells("cifar-resnet", "bn")

    def fails(body, state, pool):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(fast_engine, "Captured", fails)
    plain, graphed = FastEngine(cell, source, CPU), FastEngine(cell, source, CPU)
    graphed._graphs = fast_engine._Graphs([graphed])
    plain.train(0, 0, 3, lambda: False)
    with pytest.warns(UserWarning, match="could not be captured as a CUDA graph .*stream is capturing.*slower") as said:
        graphed.train(0, 0, 3, lambda: False)
    assert len(said) == 1 and not graphed.facts()["cuda_graphs"]
    check_same(plain.state(), graphed.state(), 1e-6)


def test_a_capture_that_failed_leaves_neither_allocator_nor_generator_in_it(monkeypatch):
    ended, put = [], []
    generator = SimpleNamespace(clone_state=lambda: "as it was", graphsafe_set_state=put.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *of: ended.append(of), raising=False)
    graph.recover((0, 7))
    assert ended == [(0, (0, 7))]
    assert put == ["as it was"]

    def fails(*of):
        raise RuntimeError("not recording")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fails, raising=False)
    graph.recover((0, 7))  # the capture had ended by itself
    assert put == ["as it was"] * 2


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


def test_too_little_memory_says_what_would_fit(source, monkeypatch):
    """With just enough for the batch named, training begins; with a byte less than it needs, it does not."""
    _, cell = cells("cifar-resnet", "bn")
    need = memory.needed(cell)
    monkeypatch.setattr(memory, "size", lambda device: need)
    make_engine(cell, source, CPU)
    monkeypatch.setattr(memory, "size", lambda device: need - 1)
    with pytest.raises(
        UserError, match=r"a batch of 64 needs about .* GB, and the device has .*; a batch of 32 would fit"
    ):
        make_engine(cell, source, CPU)
    smaller = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, batch_size=32))
    make_engine(smaller, source, CPU)
    monkeypatch.setattr(memory, "size", lambda device: 1000)
    with pytest.raises(UserError, match="not even a batch of 2 would fit"):
        make_engine(cell, source, CPU)


@pytest.mark.parametrize(
    ("exhaust", "message"),
    [
        (lambda: torch.empty(2**55), "a batch of 64 does not fit the .* GB that the device has left, though about .*"),
        (lambda: [None] * 2**60, "; try a batch of 32, or more memory"),
    ],
    ids=["torch", "python"],
)
def test_memory_that_runs_out_on_a_cpu_is_said_in_one_line(exhaust, message, tmp_path, monkeypatch):
    """What the estimate did not foresee: PyTorch has no type of its own for it, as it has for a GPU's."""
    cell = resolve(mini_fast(recipes__digits__batch_size=64)).cell("ResNet-8-c4", "bn", 0)
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
