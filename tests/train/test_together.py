"""Replicates of one cell, trained side by side: each is what it is alone, to the bit."""

import dataclasses
import json
import os
import signal

import pytest
import torch
from tests.engines.cells import CPU, RECIPE, ROOT, Replayed, cells
from tests.mini import mini, write

from bnonly import paths
from bnonly.cluster import batches
from bnonly.data import open_source
from bnonly.engines import memory
from bnonly.engines.fast import engine as fast_engine
from bnonly.engines.fast.engine import FastEngine, Replicates
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.results import cache, failure, lock, parquet
from bnonly.train import checkpoint
from bnonly.train.options import Keep, Options
from bnonly.train.run import train_cell
from bnonly.train.stop import Stopped
from bnonly.train.together import train_together

SEEDS = (0, 1, 2)


def configuration(**changes):
    return mini(engine="fast", experiments__cifar_depth__seeds=list(SEEDS), **changes)


@pytest.fixture
def replicates(tmp_path, monkeypatch):
    """Three cells, in a run's folder of their own."""
    monkeypatch.chdir(tmp_path)
    resolved = resolve(configuration())
    return [resolved.cell("ResNet-8-c4", "rand2", s) for s in SEEDS]


@pytest.fixture
def alone(replicates, tmp_path):
    """Their weights files, from trainings one by one."""
    found = []
    for cell in replicates:
        folder = tmp_path / "alone" / str(cell.seed)
        train_cell(cell, folder, Options(tmp_path, "cpu", quiet=True))
        found.append(paths.weights(folder).read_bytes())
    return found


def weights(replicates):
    return [paths.weights(c.key.folder).read_bytes() for c in replicates]


def sessions(cell):
    return [s["together"] for s in parquet.read_label(paths.metrics(cell.key.folder))["sessions"]]


def test_each_is_what_it_is_alone(replicates, alone, tmp_path):
    train_together(replicates, Options(tmp_path, "cpu", quiet=True))
    assert weights(replicates) == alone and len(set(alone)) == 3
    for cell in replicates:
        assert sessions(cell) == [3]
        table, _ = parquet.read(paths.metrics(cell.key.folder), "metrics", cell=cell)
        assert table.num_rows == 3
    assert not list(tmp_path.glob("results/**/*.checkpoint*"))


def test_what_is_finished_is_left_and_what_is_behind_goes_first(replicates, alone, tmp_path, monkeypatch):
    """One finished, one at its seventh step, one not begun."""
    train_cell(replicates[0], replicates[0].key.folder, Options(tmp_path, "cpu", quiet=True))
    kept = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, *rest: (save(path, *rest), kept.append(path.read_bytes())))
    elsewhere = tmp_path / "elsewhere"
    train_cell(replicates[1], elsewhere, Options(tmp_path, "cpu", quiet=True, checkpoint_seconds=0))
    monkeypatch.setattr(checkpoint, "save", save)
    place = paths.checkpoint(replicates[1].key.folder, replicates[1].digest())
    place.parent.mkdir(parents=True)
    place.write_bytes(kept[6])
    train_together(replicates, Options(tmp_path, "cpu", quiet=True))
    assert weights(replicates) == alone
    assert [sessions(c) for c in replicates] == [[1], [1, 2], [2]]


def test_stopped_by_a_signal_all_go_on(replicates, alone, tmp_path, monkeypatch):
    steps = 0
    step = FastEngine.step

    def stops(self, *batch):
        nonlocal steps
        steps += 1
        if steps == 3 * 14 + 2:  # the second of them, in the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *batch)

    monkeypatch.setattr(FastEngine, "step", stops)
    with pytest.raises(Stopped, match="at epoch 1.25"):
        train_together(replicates, Options(tmp_path, "cpu", quiet=True))
    for cell in replicates:
        assert paths.checkpoint(cell.key.folder, cell.digest()).exists()
        with lock.hold(cell.key.folder, str(cell)):
            pass
    train_together(replicates, Options(tmp_path, "cpu", quiet=True))
    assert weights(replicates) == alone
    assert sessions(replicates[2]) == [3, 3]


def test_one_that_diverges_leaves_the_others(replicates, alone, tmp_path, monkeypatch):
    totals = FastEngine.totals

    def broken(self):
        loss, *rest = totals(self)
        return (float("nan") if self._cell.seed == 1 else loss, *rest)

    monkeypatch.setattr(FastEngine, "totals", broken)
    train_together(replicates, Options(tmp_path, "cpu", quiet=True))
    status = [parquet.read_label(paths.metrics(c.key.folder))["status"] for c in replicates]
    assert status == ["finished", "diverged", "finished"]
    found = weights(replicates)
    assert (found[0], found[2]) == (alone[0], alone[2])


def test_checkpoints_are_of_all_at_the_same_moments(replicates, tmp_path, monkeypatch):
    kept = []
    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda path, cell, content: kept.append((cell.seed, content["iteration"])) or save(path, cell, content),
    )
    train_together(replicates, Options(tmp_path, "cpu", quiet=True, checkpoint_seconds=0.05))
    moments = [{i for seed, i in kept if seed == s} for s in SEEDS]
    assert moments[0] == moments[1] == moments[2] and len(moments[0]) > 1


def test_what_is_finished_is_safe_from_another_ones_failure(replicates, tmp_path, monkeypatch):
    """One diverges at once and so is finished; then another fails."""
    totals = FastEngine.totals

    def broken(self):
        loss, *rest = totals(self)
        if self._cell.seed == 2 and self._images_seen > 1:
            raise OSError("no more")
        self._images_seen = getattr(self, "_images_seen", 0) + 1
        return (float("nan") if self._cell.seed == 0 else loss, *rest)

    monkeypatch.setattr(FastEngine, "_images_seen", 1, raising=False)
    monkeypatch.setattr(FastEngine, "totals", broken)
    with pytest.raises(OSError, match="no more"):
        train_together(replicates, Options(tmp_path, "cpu", quiet=True, keep=Keep.IN_FOLDER_AND_CACHE))
    assert [cache.holds(c.digest()) for c in replicates] == [True, False, False]
    assert not any(failure.read(c.key.folder) for c in replicates)
    for cell in replicates:
        with lock.hold(cell.key.folder, str(cell)):
            pass


@pytest.mark.parametrize("resident", [True, False])
def test_the_bodies_of_their_graphs_do_what_each_does_alone(resident, monkeypatch):
    """Whole batches, the short one, a second epoch; draws and images of each its own."""
    source = open_source(RECIPE, ROOT, CPU)
    _, cell = cells("cifar-resnet", "rand2_out")
    three = [dataclasses.replace(cell, seed=s) for s in SEEDS]
    monkeypatch.setattr(fast_engine, "Captured", Replayed)
    apart, joint = ([FastEngine(c, source, CPU) for c in three] for _ in range(2))
    replicates = Replicates(joint)
    replicates._graphs = fast_engine._Graphs(joint)
    if not resident:
        replicates._graphs._arrays = None
    before = Replayed.made
    for epoch, first, last in ((0, 20, 23), (1, 0, 2)):
        replicates.train(epoch, first, last, lambda: False)
        for engine in apart:
            engine.train(epoch, first, last, lambda: False)
    assert Replayed.made == before + 2, "one graph for all of them, and one for the short batch"
    for one, other in zip(apart, joint, strict=True):
        assert one.totals() == other.totals()
        for part, tensors in one.state().items():
            for name, tensor in tensors.items():
                assert torch.equal(tensor, other.state()[part][name])
    assert len({e.totals()[0] for e in joint}) == 3


def test_a_checkpoint_holds_no_other_replicates_values():
    """Where what trains lies side by side: the same state as alone, in as many bytes."""
    source = open_source(RECIPE, ROOT, CPU)
    _, cell = cells("cifar-resnet", "all")
    apart, joint = ([FastEngine(dataclasses.replace(cell, seed=s), source, CPU) for s in SEEDS] for _ in range(2))
    fast_engine._lay_side_by_side(joint)
    for one, other in zip(apart, joint, strict=True):
        sizes = []
        for state in (one.state(), other.state()):
            for part in ("trainable", "momentum"):
                storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state[part].values()}
                sizes.append(sum(storages.values()))
        assert sizes[:2] == sizes[2:]
        for name, tensor in one.state()["trainable"].items():
            assert torch.equal(tensor, other.state()["trainable"][name])


def test_only_replicates_train_together(replicates, tmp_path, monkeypatch):
    other = dataclasses.replace(replicates[1], precision="bf16")
    with pytest.raises(UserError, match="only replicates, which differ only in their seeds, can train together"):
        train_together([replicates[0], other], Options(tmp_path, "cpu", quiet=True))
    slow = [dataclasses.replace(c, engine="reference") for c in replicates]
    with pytest.raises(UserError, match="replicates can train together only with engine: fast or triton on one GPU"):
        train_together(slow, Options(tmp_path, "cpu", quiet=True))
    monkeypatch.setattr(memory, "size", lambda device: 2.5 * memory.needed(replicates[0]))
    with pytest.raises(UserError, match="3 replicates together need about .* GB, and the device has .*; 2 would fit"):
        memory.check(replicates[0], CPU, 3)
    train_together(replicates[:2], Options(tmp_path, "cpu", quiet=True))  # on a CPU they take turns


def test_by_hand(tmp_path, bnonly):
    config = write(tmp_path, configuration())
    command = ("--config", config, "-C", tmp_path, "train", "ResNet-8-c4", "bn", "--device", "cpu")
    done = bnonly(*command, "--seeds", "0", "2")
    assert done.returncode == 0, done.stderr
    for seed in (0, 2):
        assert f"ResNet-8-c4/bn/seed{seed}" in done.stderr + done.stdout
    again = bnonly(*command, "--seeds", "0", "2")
    assert (again.stderr + again.stdout).count("nothing to do") == 2
    wrong = (
        (("1", "1"), "--seeds must list each seed once (got 1 1)"),
        (("0", "7"), "seed"),
        (("0", "--seed", "1"), "leave out --seed"),
    )
    for seeds, message in wrong:
        refused = bnonly(*command, "--seeds", *seeds)
        assert refused.returncode == 2 and message in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize("works", [True, False])
def test_a_batch_attempts_alone_what_together_did_not_finish(works, replicates, tmp_path, capsys):
    def alone(cell):
        train_cell(cell, cell.key.folder, Options(tmp_path, "cpu", wait=True, keep=Keep.IN_CACHE))
        return 0

    def together(some):
        if not works:
            raise MemoryError
        train_together(some, Options(tmp_path, "cpu", wait=True, keep=Keep.IN_CACHE))
        return 0

    marker = paths.batch(batches.name(replicates))
    try:
        assert batches.run(replicates, alone, marker, 1, 3, together) == 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    assert ("training one after another" in capsys.readouterr().err) != works
    for cell in replicates:
        batches.collect(cell, marker)
        assert sessions(cell) == [3 if works else 1]
    assert "trains together with" in replicates[1].key.log("train").read_text()


def test_a_batch_by_hand(replicates, tmp_path, bnonly):
    texts = json.dumps([c.canonical() for c in replicates])
    marker = paths.batch(batches.name(replicates))
    done = bnonly("batch", "--cells", texts, "--marker", marker, "--together", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(marker.read_text()) == {str(c): "finished" for c in replicates}
    for cell in replicates:
        batches.collect(cell, marker)
        assert sessions(cell) == [3]
