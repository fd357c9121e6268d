"""The files of a finished cell: what they hold, what is made from them, and damaged or foreign ones."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tests.mini import mini, write
from tests.train.runs import cell_of, train

from bnonly import paths
from bnonly.analysis.run import analyse_cell, verify_cell
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.datasets import Inputs
from bnonly.grid.resolve import load_grid
from bnonly.networks import regimes, weights
from bnonly.results import parquet

INPUTS = Inputs(list("0123456789"), [0.5] * 3, [0.25] * 3, 8, 8)


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
        UserError, match=f"{path}: is of format 'bnonly-weights-1', this .*delete it and .*{kept}, and train"
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
