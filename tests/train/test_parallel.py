"""One cell on several processes: two on this CPU, through Gloo, against one."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.mini import mini, write
from torch.nn import functional

from bnonly import paths
from bnonly.data import open_source
from bnonly.engines.engine import make_engine
from bnonly.engines.reference import Sgd
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes, weights
from bnonly.results import parquet
from bnonly.train import launch
from bnonly.train.options import Options
from bnonly.train.reservation import Reservation
from bnonly.train.run import train_cell

CPU = torch.device("cpu")
#: A rate at which rounding errors stay what they are.
SLOW = {"engine": "fast", "recipes__digits__lr": 0.01}


def cell_of(regime="bn", **changes):
    return resolve(mini(**SLOW, **changes)).cell("ResNet-8-c4", regime, 0)


def train(cell, folder, **options):
    train_cell(cell, folder, Options(folder, "cpu", quiet=True, **options))
    return trained_in(folder)


def trained_in(folder):
    """What was trained and the running statistics, layer by layer."""
    model, _, _ = weights.rebuild(paths.weights(folder))
    return {**{n: p.detach() for n, p in regimes.trainable(model).items()}, **regimes.buffers(model)}


def check_close(mine, theirs, tolerance):
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert float((value - theirs[name]).norm() / (theirs[name].norm() + 1e-9)) < tolerance, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regime", "epochs", "tolerance"), [("bn", 0.08, 1e-4), ("all", 0.08, 1e-4), ("bn", 0.25, 0.05)]
)
def test_synchronised_it_is_the_run_of_one_process(regime, epochs, tolerance, tmp_path):
    """One step to rounding; three to what training makes of that."""
    schedule = {"recipes__digits__epochs": epochs, "recipes__digits__milestones": []}
    one = train(cell_of(regime, **schedule), tmp_path / "one")
    two = cell_of(regime, recipes__digits__gpus=2, recipes__digits__batchnorm="synchronised", **schedule)
    check_close(train(two, tmp_path / "two"), one, tolerance)
    label, by_one = (parquet.read_label(paths.metrics(tmp_path / w)) for w in ("two", "one"))
    assert label["sessions"][0]["gpus"] == 2 and label["cell"]["recipe"]["batchnorm"] == "synchronised"
    assert label["data"] == by_one["data"] and "gpus" not in by_one["cell"]["recipe"]
    tables = [parquet.read(paths.metrics(tmp_path / w), "metrics")[0].to_pydict() for w in ("two", "one")]
    for key in ("iteration", "lr"):
        assert tables[0][key] == tables[1][key]
    assert tables[0]["train_loss"][1:] == pytest.approx(tables[1]["train_loss"][1:], rel=0.01)


@pytest.mark.slow
def test_each_process_has_batchnorm_statistics_of_its_own_images(tmp_path):
    """Against both halves of every batch, one after the other, in plain PyTorch."""
    cell = cell_of(recipes__digits__gpus=2)
    found = train(cell, tmp_path)
    source = open_source(cell.recipe, tmp_path, CPU)
    model, schedule = regimes.make(cell, 10), Schedule(cell.recipe, source.train_images)
    trained = regimes.trainable(model)
    optimiser = Sgd(list(trained.values()), cell.recipe.momentum, cell.recipe.weight_decay)
    firsts = {n: b.clone() for n, b in regimes.buffers(model).items()}
    for epoch in range(2):
        batches = (source.train_batches(0, epoch, 128, share=(half, 2)) for half in range(2))
        for number, halves in enumerate(zip(*batches, strict=True)):
            images = sum(len(y) for _, y in halves)
            for which, (x, y) in enumerate(halves):
                (functional.cross_entropy(model(x), y, reduction="sum") / images).backward()
                for name, buffer in regimes.buffers(model).items():  # the running statistics are the first process's
                    if which == 0:
                        firsts[name].copy_(buffer)
                    else:
                        buffer.copy_(firsts[name])
            optimiser.step(schedule.lr(epoch * schedule.per_epoch + number))
    check_close(found, {**{n: p.detach() for n, p in trained.items()}, **firsts}, 0.02)


@pytest.mark.slow
def test_groups_of_images_are_those_of_as_many_processes(tmp_path):
    """Two processes with statistics of their own, and one with two groups: three steps, to what training makes of rounding."""
    schedule = {"recipes__digits__epochs": 0.25, "recipes__digits__milestones": []}
    two = train(cell_of("all", recipes__digits__gpus=2, **schedule), tmp_path / "two")
    one = train(cell_of("all", recipes__digits__batchnorm_images=64, **schedule), tmp_path / "one")
    plain = train(cell_of("all", **schedule), tmp_path / "plain")
    check_close(one, two, 0.01)
    with pytest.raises(AssertionError):
        check_close(plain, two, 0.01)


def start(folder, config):
    command = ["train", "ResNet-8-c4", "bn", "--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", "bnonly", "--config", config, "-C", folder, *command],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup, which may run these tests, ignores it
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_all_stop_and_go_on(number, tmp_path):
    config = mini(**SLOW, recipes__digits__gpus=2, recipes__digits__epochs=5, recipes__digits__milestones=[3])
    path = write(tmp_path, config)
    cell = resolve(config).cell("ResNet-8-c4", "bn", 0)
    folder = tmp_path / "run" / cell.key.folder
    process = start(tmp_path / "run", path)
    deadline = time.monotonic() + 120
    while not paths.checkpoint(folder, cell.digest()).exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, said
    assert "stopped by a signal, checkpoint saved" in said and "Traceback" not in said and "death signal" not in said
    assert not paths.metrics(folder).exists()
    process = start(tmp_path / "run", path)
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 0, said
    label = parquet.read_label(paths.metrics(folder))
    assert label["resumed"] == 1 and label["status"] == "finished"
    whole = train(cell, tmp_path / "whole")
    assert all(torch.equal(v, whole[n]) for n, v in trained_in(folder).items())


@pytest.mark.slow
def test_what_is_wrong_is_one_line(tmp_path):
    config = mini(**SLOW, recipes__digits__gpus=2, recipes__digits__dataset="cifar10", recipes__digits__augmentation={})
    process = start(tmp_path, write(tmp_path, config))
    said = process.communicate(timeout=120)[1].strip().splitlines()
    assert process.returncode == 2
    assert len(said) == 1 and said[0].startswith("bnonly: error:") and "cifar10" in said[0], said


def test_a_process_names_files_as_its_launcher_does(tmp_path, monkeypatch):
    """It starts in the run's folder, and would name them as seen from there."""

    def refuse(reservation, *more):
        raise UserError(paths.shown(reservation.folder))

    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "_entered", None)
    paths.enter(Path("run"))
    cell = cell_of(recipes__digits__gpus=2)
    reservation = Reservation(cell, cell.key.folder, cell.key.folder, "token", lambda: None)
    task = launch._task(reservation, Options(tmp_path, "cpu"), CPU, tmp_path)
    monkeypatch.setattr(paths, "_entered", None)  # as in a new process
    monkeypatch.setattr(sys, "argv", ["launch", task])
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(launch, "Joined", lambda device: None)
    monkeypatch.setattr(launch, "train_share", refuse)
    assert launch.main() == 2
    assert launch._message(tmp_path) == {"error": f"run/{cell.key.folder}"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes__digits__gpus": 3}, "gpus must divide batch_size, 128, into shares of at least 2 images"),
        ({"recipes__digits__batchnorm": "synchronised"}, "batchnorm must be 'local' with one GPU"),
        ({"recipes__digits__gpus": 2, "engine": "reference"}, "gpus must be 1 with engine: reference"),
    ],
)
def test_configurations_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        resolve(mini(**{**SLOW, **changes}))


def test_a_last_batch_too_small_for_all_processes(tmp_path):
    cell = cell_of()
    recipe = dataclasses.replace(cell.recipe, batch_size=8, gpus=4)  # 1,437 = 179 x 8 + 5
    with pytest.raises(
        UserError, match="not leave 5 of the 1437 training images of digits for a last batch, because each of 4 GPUs"
    ):
        make_engine(dataclasses.replace(cell, recipe=recipe), open_source(recipe, Path(), CPU), CPU)
