"""A cell from start to end: its results, the same each time, and divergence."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests.mini import mini, write
from tests.train.runs import cell_of, results, train

from bnonly import paths
from bnonly.analysis.run import analyse_cell
from bnonly.engines.reference import Sgd
from bnonly.grid.resolve import load_grid, resolve
from bnonly.grid.schedule import Schedule
from bnonly.results import parquet


def test_metrics_have_an_epoch_a_row_and_provenance(finished):
    table, label = parquet.read(paths.metrics(finished), "metrics", cell=cell_of())
    assert table.column("epoch").to_pylist() == [0, 1, 2]
    assert table.column("iteration").to_pylist() == [0, 12, 24]
    assert table.column("lr").to_pylist()[1:] == pytest.approx([0.1, 0.01])
    assert table.column("test_top5").to_pylist()[-1] >= table.column("test_top1").to_pylist()[-1] > 0.1
    assert label["status"] == "finished" and label["reason"] is None
    assert label["cell"] == json.loads(cell_of().canonical())
    assert label["parameters"]["trainable"] == label["parameters"]["batchnorm"]
    for key in ("git_commit", "git_dirty", "versions", "device", "device_name", "threads", "started", "ended",
                "wall_seconds", "peak_host_bytes", "resumed"):  # fmt: skip
        assert key in label
    assert len(label["data"]["sha256"]) == 64 and label["data"]["train_images"] == 1437


def test_batchnorm_file_has_every_channel_at_start_and_end(finished):
    table, _ = parquet.read(paths.batchnorm(finished), "batchnorm", cell=cell_of())
    assert table.num_rows == 2 * sum([4, 4, 4, 8, 8, 8, 16, 16, 16]) // 2
    rows = table.to_pydict()
    assert all(0 <= g <= 1 for g in rows["gamma_start"]) and set(rows["beta_start"]) == {0.0}
    assert set(rows["mean_start"]) == {0.0} and set(rows["variance_start"]) == {1.0}
    assert rows["gamma_start"] != rows["gamma_end"] and min(rows["variance_end"]) > 0


def test_same_cell_twice_is_the_same_to_the_bit(finished, tmp_path):
    assert results(train(cell_of(), tmp_path)) == results(finished)


def test_another_seed_is_another_run(finished, tmp_path):
    other = resolve(mini(experiments__cifar_depth__seeds=[1])).cell("ResNet-8-c4", "bn", 1)
    assert results(train(other, tmp_path))[0]["test_loss"] != results(finished)[0]["test_loss"]


def test_finished_is_not_trained_again(finished):
    before = paths.metrics(finished).stat().st_mtime_ns
    train(cell_of(), finished)
    assert paths.metrics(finished).stat().st_mtime_ns == before
    assert not list(finished.glob(".checkpoint*"))


def test_diverged_is_a_result(tmp_path):
    cell = cell_of("all", recipes__digits__lr=1e9, recipes__digits__epochs=5)
    folder = train(cell, tmp_path)
    table, label = parquet.read(paths.metrics(folder), "metrics", cell=cell)
    assert label["status"] == "diverged" and "in epoch 1" in label["reason"]
    assert label["epochs_done"] < 5
    assert 0 <= table.column("test_top1").to_pylist()[-1] < 0.3
    analyse_cell(folder, cell, tmp_path, "cpu")
    clamped, _ = parquet.read(paths.clamping(folder), "clamping", cell=cell)
    assert clamped.num_rows == 4


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_divergence_in_the_last_iteration_is_noticed(engine, tmp_path):
    """One step, whose own training loss is still that of the untrained network; with and without a checkpoint after it."""
    one = {"recipes__digits__epochs": 1 / 12, "recipes__digits__milestones": [], "engine": engine}
    for seconds in (1e9, 0):
        folder = train(
            cell_of("all", recipes__digits__lr=1e9, **one), tmp_path / str(seconds), checkpoint_seconds=seconds
        )
        table, label = parquet.read(paths.metrics(folder), "metrics")
        assert table.column("iteration").to_pylist() == [0, 1]
        assert math.isfinite(table.column("train_loss").to_pylist()[-1])
        assert (label["status"], label["reason"]) == ("diverged", "test loss is nan after the last iteration")
    label = parquet.read_label(paths.metrics(train(cell_of("all", **one), tmp_path / "mild")))
    assert (label["status"], label["reason"]) == ("finished", None)


def test_a_trained_value_that_is_not_finite_is_a_divergence(tmp_path, monkeypatch):
    """Though the scores do not show it: a BatchNorm's beta of minus infinity is a channel of zeros."""
    total, step = Schedule(cell_of().recipe, 1437).total, Sgd.step
    steps = 0

    def last_breaks(self, lr):
        nonlocal steps
        step(self, lr)
        steps += 1
        if steps == total:
            self._parameters[1].data[0] = -math.inf

    monkeypatch.setattr(Sgd, "step", last_breaks)
    table, label = parquet.read(paths.metrics(train(cell_of(), tmp_path)), "metrics")
    assert math.isfinite(table.column("test_loss").to_pylist()[-1])
    assert (label["status"], label["reason"]) == ("diverged", "bn1.bias is not finite after the last iteration")


def test_schedule_of_the_paper():
    paper = load_grid(Path(__file__).parents[2] / "config.yaml")
    cifar = Schedule(paper.cell("ResNet-14", "bn", 0).recipe, 50_000)
    assert (cifar.per_epoch, cifar.total) == (391, 391 * 160)
    assert [cifar.lr(391 * e) for e in (0, 79, 80, 119, 120, 159)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
    assert cifar.lr(391 * 80 - 1) == pytest.approx(0.1)
    imagenet = Schedule(paper.cell("ImageNet-ResNet-18", "bn", 0).recipe, 1_281_167)
    assert imagenet.per_epoch == 1252
    assert imagenet.lr(0) == 0 and imagenet.lr(1252 * 5 // 2) == pytest.approx(0.2) and imagenet.lr(1252 * 5) == 0.4
    assert [imagenet.lr(1252 * e) for e in (29, 30, 60, 80)] == pytest.approx([0.4, 0.04, 0.004, 0.0004])


def test_device_that_is_not_there(tmp_path, bnonly):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = bnonly("--config", write(tmp_path, mini()), "-C", tmp_path, "train", "ResNet-8-c4", "bn", "--device", "cuda")
    assert done.returncode == 2 and "--device cuda: " in done.stderr and done.stderr.count("\n") == 1
