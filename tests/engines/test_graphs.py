"""What the fast engine captures as CUDA graphs: the same training, which asks nothing of the host."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from tests.engines.cells import CPU, FAMILIES, RECIPE, ROOT, Replayed, cells, check_same
from torch.utils._python_dispatch import TorchDispatchMode

from bnonly.data import open_source
from bnonly.engines.fast import engine as fast_engine
from bnonly.engines.fast import graph
from bnonly.engines.fast.engine import FastEngine
from bnonly.grid.cell import Architecture


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
