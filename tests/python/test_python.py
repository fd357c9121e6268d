"""What Python users call: a table of a run, and a trained network for images of their own."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data import sets
from tests.mini import mini

import bnonly
from bnonly import paths
from bnonly.data import digits, open_source
from bnonly.data.prepare import prepare
from bnonly.data.transform import Transform
from bnonly.errors import UserError
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.networks import regimes, weights
from bnonly.results import parquet

FOLDER = Key("ResNet-8-c4", "bn", 0).folder


def test_a_table_has_every_epoch_of_every_cell(run):
    found = bnonly.load(str(run))
    assert found.equals(bnonly.load(run / "results"))
    assert [(r.regime, r.epoch) for r in found.itertuples()] == [(r, e) for r in ("all", "bn") for e in range(3)]
    one = found[found["regime"] == "bn"]
    table, label = parquet.read(run / FOLDER / "metrics.parquet", "metrics")
    assert one["test_top1"].tolist() == table["test_top1"].to_pylist()
    assert one["train_loss"].isna().tolist() == [True, False, False]
    cell = resolve(mini()).cell("ResNet-8-c4", "bn", 0)
    shown = (cell.digest(), "cifar-resnet", 8, 4, "digits", 0.1, label["parameters"]["trainable"], "finished")
    names = ["digest", "family", "depth", "channels", "dataset", "initial_lr", "trainable", "status"]
    assert tuple(one[names].iloc[0]) == shown


def test_every_column_of_the_table_is_described(run, root):
    columns = set(bnonly.load(run).columns)
    docstring = set(re.findall(r"``(\w+)``", bnonly.load.__doc__))
    page = (root / "docs/results.md").read_text().split("## `bnonly.load`")[1].split("\n## ")[0]
    rows = {name for row in re.findall(r"^\|(.+?)\|", page, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert columns <= docstring and columns == rows | set(parquet.SCHEMAS["metrics"].names)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f), "no such folder; name a run's folder"),
        (lambda f: shutil.rmtree(f / "results"), "has no results"),
        (lambda f: paths.metrics(f / FOLDER).write_bytes(b"PAR1"), "metrics.parquet: damaged or half-written"),
        (lambda f: (f / FOLDER).rename((f / FOLDER).with_name("seed7")), "belongs to ResNet-8-c4/bn/seed0; move it"),
    ],
)
def test_what_is_no_run_is_said(spoil, said, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    spoil(tmp_path / "run")
    with pytest.raises(UserError, match=said):
        bnonly.load(tmp_path / "run")


def test_a_network_classifies_the_test_images_as_in_training(run):
    found = bnonly.network(str(run / FOLDER))
    assert found.class_names == list("0123456789") and str(found.cell) == "ResNet-8-c4/bn/seed0"
    images, labels = digits.load().test_images, digits.load().test_labels
    answers = [found.classify(Image.fromarray(image), top=1)[0] for image in images]
    share = np.mean([name == str(label) for (name, _), label in zip(answers, labels, strict=True)])
    recorded = bnonly.load(run).query("regime == 'bn'")["test_top1"].iloc[-1]
    assert share == pytest.approx(recorded, abs=1.5 / len(labels))
    best = found.classify(Image.fromarray(images[0]), top=20)
    assert len(best) == 10 and sum(p for _, p in best) == pytest.approx(1) and best == sorted(best, key=lambda b: -b[1])


def inputs_of(source, images, tolerance=0.0):
    """Assert that the test images go through the transform as through testing."""
    transform = Transform(source.inputs)
    found = torch.stack([transform(image) for image in images])
    expected = torch.cat([batch for batch, _ in source.test_batches(4)])
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    return found


@pytest.mark.parametrize("size", [0, 16])
def test_small_images_become_the_inputs_of_training(size):
    source = open_source(sets.recipe("digits", image_size=size), None, sets.CPU)
    found = inputs_of(source, [Image.fromarray(i) for i in digits.load().test_images])
    assert found.shape[2:] == (size or 8, size or 8)


def test_photographs_become_the_inputs_of_training(tmp_path, monkeypatch):
    sets.resize_known(monkeypatch)
    folder = sets.folder_set(tmp_path / "set")
    prepare("imagenet", folder, tmp_path / "data", quiet=True)
    source = open_source(sets.recipe("imagenet"), tmp_path / "data", sets.CPU)
    files = sorted((folder / "val").rglob("*.JPEG"))
    names = (tmp_path / "data/imagenet/test.names").read_text().split("\n")
    # Two JPEG decoders may differ by a grey level or two.
    found = inputs_of(source, sorted(files, key=lambda f: names.index("/".join(f.parts[-2:]))), 0.1)
    assert found.shape == (6, 3, 224, 224) and source.inputs.class_names == list(sets.CLASSES)


def test_a_larger_image_is_cut_to_its_middle(run):
    transform = bnonly.network(run / FOLDER).transform
    grey = np.zeros((80, 160, 3), np.uint8)
    grey[:, 40:120] = 200  # the central square
    inside = transform(Image.fromarray(grey))
    assert inside.shape == (3, 8, 8) and torch.equal(inside, transform(Image.fromarray(np.full_like(grey, 200))))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: f / "nothing.png", "nothing.png: cannot be read: No such file"),
        (lambda f: (f / "a.png").write_text("text") and f / "a.png", "a.png: not an image"),
        (lambda f: Image.new("RGBA", (8, 8)), "the image: has transparent pixels.*convert it to RGB"),
        (lambda f: Image.new("F", (8, 8)), "the image: mode F has no certain meaning"),
    ],
)
def test_what_is_no_image_is_said(make, said, run, tmp_path):
    with pytest.raises(UserError, match=said):
        bnonly.network(run / FOLDER).classify(make(tmp_path))


def forget_inputs(path):
    """Make a weights file one from before the inputs were stored in it."""
    tensors, label = weights.load(path)
    label = {k: v for k, v in {**label, "cell": label["cell"].canonical()}.items() if k != "inputs"}
    label["sha256"] = weights._checksum(tensors, label)
    path.write_bytes(weights.to_bytes(tensors, metadata={"bnonly": json.dumps(label, sort_keys=True)}))


def test_an_older_weights_file_takes_them_from_the_data(run, tmp_path, monkeypatch):
    shutil.copytree(run / FOLDER, tmp_path / FOLDER)
    forget_inputs(paths.weights(tmp_path / FOLDER))
    image = Image.fromarray(digits.load().test_images[0])
    assert bnonly.network(tmp_path / FOLDER).classify(image) == bnonly.network(run / FOLDER).classify(image)
    other = digits.load()
    other.train_labels[0] = (other.train_labels[0] + 1) % 10
    monkeypatch.setattr("bnonly.data.digits.load", lambda *_: other)
    with pytest.raises(UserError, match="did not store class names, mean and deviation; the digits data"):
        bnonly.network(tmp_path / FOLDER)


def test_an_older_weights_file_without_its_data_says_what_is_missing(tmp_path):
    cell = resolve(mini(recipes__digits__dataset="cifar10")).cell("ResNet-8-c4", "bn", 0)
    inputs = open_source(sets.recipe("digits"), None, sets.CPU).inputs
    path = tmp_path / "weights.safetensors"
    weights.save(path, cell, inputs, "0" * 64, regimes.make(cell, 10))
    assert weights.load(path)[1]["inputs"] == inputs
    forget_inputs(path)
    with pytest.raises(UserError, match="did not store class names.*; name the folder of prepared data with data= "):
        bnonly.network(tmp_path, data=tmp_path / "none")


@pytest.mark.parametrize(
    ("place", "said"),
    [(".", "is a run's folder; name a cell's"), ("results/ResNet-8-c4/rand2/seed0", "no such file; train the cell")],
)
def test_what_is_no_network_is_said(place, said, run):
    with pytest.raises(UserError, match=said):
        bnonly.network(run / place)


def test_importing_the_package_is_light():
    code = "import bnonly, sys; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules); bnonly.load; bnonly.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "module 'bnonly' has no attribute 'nothing'" in done.stderr and "AssertionError" not in done.stderr
