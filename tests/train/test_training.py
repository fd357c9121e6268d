"""A cell from start to end: interrupted, killed, diverged, twice at once, and its files."""

import dataclasses
import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tests.mini import mini, write

from bnonly import paths
from bnonly.analysis.run import analyse_cell, verify_cell
from bnonly.engines.reference import Sgd
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.datasets import Inputs
from bnonly.grid.resolve import load_grid, resolve
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes, weights
from bnonly.results import cache, parquet
from bnonly.train.checkpoint import load as load_checkpoint
from bnonly.train.checkpoint import save as save_checkpoint
from bnonly.train.options import Keep, Options
from bnonly.train.run import train_cell

#: Columns of the metrics that say how fast a run was; all others must be equal to the bit.
TIMES = {"seconds", "images_per_second"}
INPUTS = Inputs(list("0123456789"), [0.5] * 3, [0.25] * 3, 8, 8)


def cell_of(regime="bn", **changes):
    return resolve(mini(**changes)).cell("ResNet-8-c4", regime, 0)


def train(cell, folder, **options):
    train_cell(cell, folder, Options(folder, device="cpu", quiet=True, **options))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(cell_of(), tmp_path_factory.mktemp("finished"))


def results(folder):
    """Everything a run computes, to the bit."""
    table, label = parquet.read(paths.metrics(folder), "metrics")
    kept = {n: table.column(n).to_numpy().tobytes() for n in table.column_names if n not in TIMES}
    return kept, label["status"], paths.batchnorm(folder).read_bytes(), paths.weights(folder).read_bytes()


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


def start(bnonly_folder, config, *options, regime="bn"):
    return subprocess.Popen(
        [sys.executable, "-m", "bnonly", "--config", config, "-C", bnonly_folder, "train", "ResNet-8-c4", regime,
         "--threads", "1", "--device", "cpu", "--checkpoint-seconds", "0", *options],
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup, which may run these tests, ignores it
    )  # fmt: skip


#: Trains a cell that writes a checkpoint every iteration, again and again in a fork, each of which dies by SIGKILL in the
#: write that its moment names: (beginning of the file's name, how many such writes, before | within | written | renamed).
#: Between two writes nothing changes on the disk, so these are all the moments there are, and none depends on the clock.
KILLED = """
import json, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from bnonly.grid.cell import parse_cell
from bnonly.results import atomic
from bnonly.engines.reference import Sgd
from bnonly.train.options import Keep, Options
from bnonly.train.run import train_cell

folder, cell, keep = Path(sys.argv[1]), parse_cell(sys.argv[2]), Keep(sys.argv[4])
real = atomic.writing

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Torn:
    def __init__(self, stream):
        self._stream = stream
    def __getattr__(self, name):
        return getattr(self._stream, name)
    def write(self, content):
        content = bytes(content)
        if len(content) < 100:
            return self._stream.write(content)
        self._stream.write(content[: len(content) // 2])
        self._stream.flush()
        die()

def train(name, count, stage):
    @contextmanager
    def writing(path, **how):
        nonlocal count
        count -= path.name.startswith(name)
        now = stage if count == 0 and path.name.startswith(name) else None
        if now == "before":
            die()
        with real(path, **how) as stream:
            yield Torn(stream) if now == "within" else stream
            stream.flush()
            if now == "written":
                die()
        if now == "renamed":
            die()
    atomic.writing = writing
    train_cell(cell, folder, Options(folder, device="cpu", quiet=True, checkpoint_seconds=0, keep=keep))

for moment in json.loads(sys.argv[3]):
    child = os.fork()
    if not child:
        try:
            train(*moment)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, (moment, status)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("regime", "epochs", "lr", "keep"),
    [
        ("bn", 6, 0.1, Keep.IN_FOLDER),
        ("rand2", 5.4, 0.1, Keep.IN_CACHE),
        ("all", 6, 1e9, Keep.IN_FOLDER_AND_CACHE),
    ],
)
def test_killed_at_any_moment_it_continues_to_the_same_result(regime, epochs, lr, keep, tmp_path, monkeypatch):
    """kill -9 before, within and after the write of every file; then the run is what it would have been."""
    monkeypatch.chdir(tmp_path)  # the store is in the current folder
    long = mini(recipes__digits__epochs=epochs, recipes__digits__milestones=[3, 5], recipes__digits__lr=lr)
    cell = resolve(long).cell("ResNet-8-c4", regime, 0)
    whole = train(cell, tmp_path / "whole")
    # A run that diverges is over in its first epoch, after 11 checkpoints.
    draw, farthest = random.Random(regime), 2 if lr > 1 else 9
    stages = ["before", "within", "written", "renamed"]
    while_training = [(".checkpoint", draw.randint(1, farthest), stage) for stage in draw.sample(stages, 4)]
    while_finishing = [(name, 1, draw.choice(stages[:3])) for name in ("batchnorm", "weights", "metrics")]
    moments = [(".checkpoint", 1, "within"), *while_training, *while_finishing]
    folder = tmp_path / "run"
    made = paths.finished(cell.digest()) if keep is Keep.IN_CACHE else folder
    command = [sys.executable, "-c", KILLED, folder, cell.canonical(), json.dumps(moments), keep.value]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(made.glob(".*.tmp")), "a killed write leaves its temporary file"
    assert not paths.metrics(made).exists()

    train(cell, folder, checkpoint_seconds=0, keep=keep)
    assert results(made) == results(whole)
    assert cache.holds(cell.digest()) == (keep is not Keep.IN_FOLDER)
    label = parquet.read_label(paths.metrics(made))
    assert label["status"] == ("diverged" if lr > 1 else "finished")
    # The sessions whose work is in the result: those that came to a checkpoint (of those that finish, the first), and the last.
    wrote = [count - 1 + (stage == "renamed") > 0 for name, count, stage in moments if name == ".checkpoint"]
    assert len(label["sessions"]) == label["resumed"] + 1 == sum(wrote) + 2
    assert not list(folder.glob(".*.tmp")) and not list(made.glob(".*.tmp")), "what a killed write left is cleared away"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_says_so(tmp_path, number):
    long = mini(recipes__digits__epochs=400)
    config = write(tmp_path, long)
    cell = resolve(long).cell("ResNet-8-c4", "bn", 0)
    folder = tmp_path / "run" / cell.key.folder
    process = start(tmp_path / "run", config, "--quiet")
    checkpoint = paths.checkpoint(folder, cell.digest())
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert "checkpoint saved; the same command continues" in process.stderr.read()
    assert stat.S_IMODE(checkpoint.stat().st_mode) == 0o600
    assert load_checkpoint(checkpoint, cell)["iteration"] > 0
    assert not paths.metrics(folder).exists()


def test_two_runs_of_one_cell_at_once(tmp_path, bnonly):
    long = mini(recipes__digits__epochs=400)
    config = write(tmp_path, long)
    process = start(tmp_path / "run", config, "--quiet")
    folder = tmp_path / "run" / Key("ResNet-8-c4", "bn", 0).folder
    deadline = time.monotonic() + 60
    while not list(folder.glob(".checkpoint*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    second = bnonly("--config", config, "-C", tmp_path / "run", "train", "ResNet-8-c4", "bn")
    process.kill()
    process.wait()
    assert second.returncode == 2
    assert f"ResNet-8-c4/bn/seed0 is being trained by process {process.pid} on" in second.stderr
    assert second.stderr.count("\n") == 1


def test_when_checkpoints_are_written_makes_no_difference(tmp_path):
    for regime, lr in (("bn", 0.1), ("all", 1e9)):
        cell = cell_of(regime, recipes__digits__lr=lr)
        never = results(train(cell, tmp_path / regime / "never", checkpoint_seconds=1e9))
        for seconds in (0, 0.01, 0.03):
            assert results(train(cell, tmp_path / regime / str(seconds), checkpoint_seconds=seconds)) == never


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


def test_analysis_of_a_cell(finished):
    analyse_cell(finished, cell_of(), finished, "cpu")
    clamped = parquet.read(paths.clamping(finished), "clamping", cell=cell_of())[0].to_pydict()
    last = parquet.read(paths.metrics(finished), "metrics")[0].to_pylist()[-1]
    gammas = parquet.read(paths.batchnorm(finished), "batchnorm")[0].column("gamma_end").to_pylist()
    assert clamped["threshold"] == [0.0, 0.01, 0.05, 0.1]
    assert clamped["test_top1"][0] == last["test_top1"]
    assert clamped["clamped"] == [sum(abs(g) < t for g in gammas) for t in clamped["threshold"]]
    zero = parquet.read(paths.activations(finished), "activations", cell=cell_of())[0].to_pydict()
    # The stem's ReLU, then two a block, each as wide as its group.
    assert len(zero["zero"]) == 4 + 2 * (4 + 8 + 16)
    assert sorted(set(zero["relu_index"])) == list(range(7))
    assert 0 <= min(zero["zero"]) < max(zero["zero"]) <= 1


def test_pr_zero_is_the_share_of_zeros(finished):
    """Measured again, plainly: one hook on one ReLU."""
    model, cell, _ = weights.rebuild(paths.weights(finished))
    from bnonly.data import open_source

    source = open_source(cell.recipe, finished, torch.device("cpu"))
    outputs = []
    model.blocks[1].relu1.register_forward_hook(lambda m, i, o: outputs.append(o.detach()))
    with torch.no_grad():
        for images, _ in source.test_batches(100):
            model(images)
    expected = (torch.cat(outputs) == 0).double().mean(dim=(0, 2, 3)).tolist()
    analyse_cell(finished, cell, finished, "cpu")
    rows = parquet.read(paths.activations(finished), "activations")[0].to_pylist()
    found = [r["zero"] for r in rows if r["relu"] == "blocks.1.relu1"]
    assert found == pytest.approx(expected, abs=1e-12)


def test_weights_file_rebuilds_the_network(finished):
    found = verify_cell(finished, cell_of(), finished, "cpu")
    assert found.rebuilt == found.recorded and found.agrees
    # Two trained values and two statistics a channel, and the header.
    assert found.size < 84 * 4 * 4 + 2000


@pytest.mark.parametrize("regime", ["all", "rand2", "gamma"])
def test_weights_of_other_regimes_rebuild_too(regime, tmp_path):
    cell = cell_of(regime, regimes__gamma={"train": ["gamma"]}, experiments__cifar_depth__regimes=[regime])
    found = verify_cell(train(cell, tmp_path), cell, tmp_path, "cpu")
    assert found.rebuilt == found.recorded
    # A tensor a kind of BatchNorm's values, one a parameter of anything else.
    named = {n for n in regimes.trainable(regimes.make(cell, 10)) if "bn" not in n and "downsample.1" not in n}
    kinds = {"all": {"gamma", "beta"}, "rand2": set(), "gamma": {"gamma"}}[regime]
    assert weights.load(paths.weights(tmp_path))[0].keys() == {*kinds, "mean", "variance", *named}


def rewritten(path, finished, label=None, **tensors):
    """A weights file with another label, or other tensors, and the checksum that belongs to them."""
    content, found = weights.load(paths.weights(finished))
    found = {**found, "cell": found["cell"].canonical(), "inputs": dataclasses.asdict(found["inputs"])}
    found |= label or {}
    content = {n: t for n, t in {**content, **tensors}.items() if t is not None}
    found["sha256"] = weights._checksum(content, found)
    path.write_bytes(weights.to_bytes(content, metadata={"bnonly": json.dumps(found, sort_keys=True)}))
    return path


@pytest.mark.parametrize(
    "tensors",
    [
        {"gamma": torch.ones(83)},
        {"gamma": torch.ones(1)},
        {"gamma": torch.ones(84, 1)},
        {"gamma": torch.ones(84, dtype=torch.float64)},
        {"beta": None},
        {"conv1.weight": torch.ones(4)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors, finished, tmp_path):
    weights.rebuild(rewritten(tmp_path / "same", finished))
    path = rewritten(tmp_path / "w", finished, **tensors)
    with pytest.raises(UserError, match=f"{path}: does not hold the tensors of ResNet-8-c4/bn/seed0; delete it"):
        weights.rebuild(path, cell_of())


def test_weights_of_an_older_format_are_refused(finished, tmp_path):
    """Also where they are kept a second time, from where the same training would fetch them."""
    path = rewritten(tmp_path / "w", finished, {"format": "bnonly-weights-1"})
    kept = f"results/.finished/{cell_of().digest()}"
    with pytest.raises(
        UserError, match=f"{path}: is of format 'bnonly-weights-1', this .*delete it and {kept}, and train"
    ):
        weights.load(path)


def test_weights_of_another_configuration_are_not_finished(finished, tmp_path):
    """The other files are this cell's, and nothing says so but what is in the weights file itself."""
    other = cell_of(recipes__digits__lr=0.2)
    train(other, tmp_path)
    paths.weights(tmp_path).write_bytes(paths.weights(finished).read_bytes())
    with pytest.raises(UserError, match=r"weights.safetensors: was .* \(recipe.lr is 0.2, the file's is 0.1\)"):
        train(other, tmp_path)


def test_bn_only_resnet_110_is_tens_of_kilobytes(tmp_path):
    cell = load_grid(Path(__file__).parents[2] / "config.yaml").cell("ResNet-110", "bn", 0)
    weights.save(tmp_path / "w", cell, INPUTS, "0" * 64, regimes.make(cell, 10))
    assert 4 * 4 * 4144 < (tmp_path / "w").stat().st_size < 70_000  # four values a channel


FILES = {
    "metrics": (paths.metrics, lambda p, c: parquet.read(p, "metrics", cell=c)),
    "batchnorm": (paths.batchnorm, lambda p, c: parquet.read(p, "batchnorm", cell=c)),
    "weights": (paths.weights, lambda p, c: weights.rebuild(p, c)),
}


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "absent"])
@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_refused_by_name(kind, damage, finished, tmp_path):
    where, read = FILES[kind]
    path = tmp_path / where(finished).name
    content = where(finished).read_bytes()
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    elif damage == "foreign":
        import pyarrow as pa

        pq.write_table(pa.table({"a": [1]}), path)
        content = path.read_bytes()
    path.unlink(missing_ok=True)
    if damage != "absent":
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(path, cell_of())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(
        path, cell_of(), dict.fromkeys(("state", "rows", "iteration", "partial", "history", "data_sha256"), 1)
    )
    whole = path.read_bytes()
    for k in range(100):
        content = bytearray(whole)
        content[len(whole) * k // 100] ^= 1 << (k % 8)
        path.write_bytes(content)
        with pytest.raises(UserError, match="delete it to train the cell from the start"):
            load_checkpoint(path, cell_of())


def test_unreadable_is_not_called_damaged(finished, monkeypatch):
    """Nobody is told to delete a good file that only cannot be read."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(parquet.pq, "ParquetFile", refuse)
    with pytest.raises(UserError, match="metrics.parquet: cannot be read: Permission denied$"):
        parquet.read(paths.metrics(finished), "metrics")


def test_analysis_on_other_data_is_refused(finished, monkeypatch):
    from bnonly.data.digits import load

    other = load()
    other.train_labels[0] = (other.train_labels[0] + 1) % 10
    monkeypatch.setattr("bnonly.data.digits.load", lambda *_: other)
    with pytest.raises(UserError, match="was trained on other digits data"):
        analyse_cell(finished, cell_of(), finished, "cpu")


def small(kind, path):
    """Write a file of two rows, or the weights of the smallest network; return what reads it."""
    cell = cell_of()
    if kind == "weights":
        weights.save(path, cell, INPUTS, "0" * 64, regimes.make(cell, 10))
        return lambda: {n: t.tolist() for n, t in weights.load(path)[0].items()}
    columns = {n: ["relu1", "relu2"] if n == "relu" else [1, 2] for n in parquet.SCHEMAS[kind].names}
    parquet.write(path, kind, columns, cell)
    return lambda: parquet.read(path, kind, cell=cell)[0].to_pydict()


@pytest.mark.parametrize("kind", ["clamping", "activations", "weights"])
def test_a_flipped_bit_never_gives_other_values(kind, tmp_path):
    """In any byte of the file: it is refused in one line that names it, or was in a place that means nothing."""
    path = tmp_path / kind
    read = small(kind, path)
    whole, expected = path.read_bytes(), read()
    refused = 0
    with path.open(
        "r+b", buffering=0
    ) as file:  # in place: to write all of it anew ten thousand times waits for the disk

        def put(place, byte):
            file.seek(place)
            file.write(bytes([byte]))

        for place, byte in enumerate(whole):
            for bit in (0, 7):
                put(place, byte ^ 1 << bit)
                try:
                    found = read()
                except UserError as problem:
                    refused += 1
                    assert str(path) in str(problem) and "\n" not in str(problem)
                else:
                    assert found == expected, (place, bit)
            put(place, byte)
    assert refused > len(whole)  # of two flips a byte


@pytest.mark.parametrize("kind", FILES)
def test_files_of_another_configuration_are_refused(kind, finished):
    where, read = FILES[kind]
    other = cell_of(recipes__digits__lr=0.2)
    with pytest.raises(UserError, match=r"another configuration \(recipe.lr is 0.2, the file's is 0.1\)"):
        read(where(finished), other)


def test_results_of_another_configuration_are_not_overwritten(finished, tmp_path, bnonly):
    config = write(tmp_path, mini(recipes__digits__lr=0.2))
    folder = tmp_path / Key("ResNet-8-c4", "bn", 0).folder
    folder.mkdir(parents=True)
    for make in (paths.metrics, paths.batchnorm, paths.weights):
        make(folder).write_bytes(make(finished).read_bytes())
    done = bnonly("--config", config, "-C", tmp_path, "train", "ResNet-8-c4", "bn")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "recipe.lr is 0.2, the file's is 0.1" in done.stderr
    assert paths.metrics(folder).read_bytes() == paths.metrics(finished).read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "incomplete"])
def test_damaged_checkpoint(damage, tmp_path, bnonly):
    config = write(tmp_path, mini())
    folder = tmp_path / Key("ResNet-8-c4", "bn", 0).folder
    folder.mkdir(parents=True)
    path = paths.checkpoint(folder, cell_of().digest())
    save_checkpoint(path, cell_of(), {"state": torch.zeros(100)})  # lacks most of what a run needs
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:700])
    done = bnonly("--config", config, "-C", tmp_path, "train", "ResNet-8-c4", "bn")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert path.name in done.stderr and "delete it to train the cell from the start" in done.stderr
    assert path.exists()


def test_full_disk(finished, tmp_path):
    """A write that fails leaves the old file as it was and no temporary one."""
    path = tmp_path / "metrics.parquet"
    path.write_bytes(paths.metrics(finished).read_bytes())
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pathlib import Path
from bnonly.results import atomic
from bnonly.errors import UserError
try:
    with atomic.writing(Path({str(path)!r})) as stream:
        stream.write(bytes(5000))
except UserError as problem:
    print(problem)
    sys.exit(2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout.strip() == f"{path}: cannot be written: File too large; nothing was changed"
    assert path.read_bytes() == paths.metrics(finished).read_bytes()
    assert os.listdir(tmp_path) == ["metrics.parquet"]


def test_full_disk_while_training(tmp_path, bnonly):
    """One line, and the checkpoint of before stands."""
    import resource

    config = write(tmp_path, mini(recipes__digits__epochs=400))
    arguments = (
        "--config",
        config,
        "-C",
        tmp_path,
        "train",
        "ResNet-8-c4",
        "all",
        "--checkpoint-seconds",
        "0",
        "--quiet",
    )
    done = bnonly(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "cannot be written: File too large; nothing was changed" in done.stderr


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
