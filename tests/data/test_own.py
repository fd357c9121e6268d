"""Data sets that the configuration describes: prepared, counted, trained."""

import dataclasses
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps
from tests.data import sets
from tests.data.sets import CPU
from tests.mini import mini, write

from bnonly.config.layers import Layers
from bnonly.cost.step import step_of
from bnonly.data import open_source
from bnonly.data.prepare import prepare
from bnonly.errors import UserError
from bnonly.grid.cell import Augmentation, parse_cell
from bnonly.grid.datasets import DatasetInfo, with_counts
from bnonly.grid.resolve import resolve
from bnonly.results import parquet

CLASSES = ("cat", "dog", "owl", "yak")
TRAIN, TEST = 6, 2
SMALL = {"kind": "small-images", "image_size": 32, "title": "pets"}
PHOTOGRAPHS = {"kind": "photographs", "image_size": 32}
PREPARED = "24 training and 8 test images of 4 classes"


def folder(path, test="test"):
    """Class folders of PNG and JPEG files of several sizes."""
    number = 0
    for part, count in (("train", TRAIN), (test, TEST)):
        for name in CLASSES:
            (path / part / name).mkdir(parents=True)
            for k in range(count):
                number += 1
                kind = "JPEG" if k == 0 else "PNG"
                content = sets.encode(sets.photograph(number), kind)
                (path / part / name / f"{number:03d}.{kind.lower()}").write_bytes(content)
    return path


def tar(path):
    with tarfile.open(path.with_suffix(".tar"), "w") as made:
        made.add(folder(path), "pets")
    return path.with_suffix(".tar")


def parquet_files(path):
    made = folder(path / "made")
    (path / "data").mkdir()
    for part in ("train", "test"):
        files = sorted((made / part).glob("*/*"))
        rows = [{"bytes": f.read_bytes(), "path": f.name} for f in files]
        labels = [CLASSES.index(f.parent.name) for f in files]
        pq.write_table(pa.table({"image": rows, "label": labels}), path / "data" / f"{part}-00000-of-00001.parquet")
    return path / "data"


SOURCES = {"test": folder, "val": lambda p: folder(p, "val"), "tar": tar, "parquet": parquet_files}


def config(described, **changes):
    found = mini(**changes)
    found["datasets"] = {"mine": described}
    found["recipes"]["digits"] |= {"dataset": "mine", "batch_size": 8, "augmentation": {"flip": True}}
    return found


def resolved(described, data, **changes):
    found = config(described, **changes)
    files = Layers(("grid.yaml", found))
    return resolve(with_counts(found, files, data), files)


def cell_of(described, data, **changes):
    return resolved(described, data, **changes).cell("ResNet-8-c4", "bn", 0)


def made(described, data, tmp_path):
    """Prepare the folder as the configuration describes it."""
    info = DatasetInfo("mine", described["kind"], 0, 0, 0, described["image_size"])
    assert prepare(info, folder(tmp_path / "set"), data, quiet=True).startswith(f"mine: {PREPARED}")
    return cell_of(described, data)


@pytest.mark.parametrize("described", [SMALL, PHOTOGRAPHS], ids=["small", "photographs"])
@pytest.mark.parametrize("way", SOURCES)
def test_every_source_is_prepared_and_counted(way, described, tmp_path):
    info = DatasetInfo("mine", described["kind"], 0, 0, 0, 32)
    assert PREPARED in prepare(info, SOURCES[way](tmp_path / "set"), tmp_path / "data", quiet=True)
    data = cell_of(described, tmp_path / "data").recipe.data
    assert (data.classes, data.train_images, data.test_images) == (4, 24, 8)
    manifest = json.loads((tmp_path / "data/mine/manifest.json").read_text())
    assert manifest["class_names"] == (list(CLASSES) if way != "parquet" else ["0000", "0001", "0002", "0003"])
    assert manifest["train_per_class"] == [TRAIN] * 4 and manifest["test_per_class"] == [TEST] * 4


def test_counts_left_empty_are_those_found(tmp_path):
    """``classes:`` with nothing behind it is null, the default."""
    empty = {**SMALL, "classes": None, "train_images": None}
    with pytest.raises(UserError, match="datasets.mine is not prepared"):
        resolved(empty, tmp_path / "data")
    assert made(SMALL, tmp_path / "data", tmp_path) == cell_of(empty, tmp_path / "data")


def test_preparing_again_names_both_sources_and_what_to_delete(tmp_path):
    info = DatasetInfo("mine", SMALL["kind"], 0, 0, 0, SMALL["image_size"])
    data, other = tmp_path / "data", tmp_path / "other"
    prepare(info, folder(tmp_path / "set"), data, quiet=True)
    said = prepare(info, other, data, quiet=True)
    assert f"already prepared in {data / 'mine'}, from folder set; {other} was not read" in said
    assert f"to prepare it from {other}, delete {data / 'mine'}" in said


def test_small_images_are_the_scaled_centres(tmp_path):
    cell = made(SMALL, tmp_path / "data", tmp_path)
    source = open_source(cell.recipe, tmp_path / "data", CPU)
    files = sorted((tmp_path / "set/test").glob("*/*"))
    wanted = [np.asarray(ImageOps.fit(Image.open(f).convert("RGB"), (32, 32), Image.Resampling.LANCZOS)) for f in files]
    images, labels = next(source.test_batches(8))
    assert labels.tolist() == [CLASSES.index(f.parent.name) for f in files]
    std, mean = (torch.tensor(x, dtype=torch.float32)[:, None, None] for x in (source.std, source.mean))
    np.testing.assert_allclose((images * std + mean) * 255, np.stack(wanted).transpose(0, 3, 1, 2), atol=1e-3)


def test_small_images_are_shifted_and_mirrored_like_those_of_cifar10(tmp_path):
    data = tmp_path / "data"
    cell = made(SMALL, data, tmp_path)
    shifted = dataclasses.replace(cell.recipe, augmentation=Augmentation(flip=True, shift=4))
    plain, moved = (open_source(recipe, data, CPU) for recipe in (cell.recipe, shifted))
    assert not torch.equal(next(plain.train_batches(0, 0, 8))[0], next(moved.train_batches(0, 0, 8))[0])
    black = torch.tensor(-moved.mean / moved.std, dtype=torch.float32)
    edges = next(moved.train_batches(0, 0, 24))[0][:, :, [0, -1]]
    assert (edges.permute(0, 2, 3, 1) - black).abs().amax(-1).lt(1e-5).any(), "zeros are brought in"


@pytest.mark.parametrize("described", [SMALL, PHOTOGRAPHS], ids=["small", "photographs"])
def test_image_size_is_trained_and_counted(described, tmp_path):
    """A description with 32 once trained at 224 and was counted at 32."""
    cell = made(described, tmp_path / "data", tmp_path)
    source = open_source(cell.recipe, tmp_path / "data", CPU)
    for batches in (source.train_batches(0, 0, 8), source.test_batches(8)):
        assert next(batches)[0].shape == (8, 3, 32, 32)
    assert step_of(cell).largest == 4 * 32 * 32, "the largest activation has 4 channels"


def test_a_cell_carries_its_data_set_to_another_machine(tmp_path):
    cell = made(SMALL, tmp_path / "data", tmp_path)
    found = parse_cell(cell.canonical())
    assert found == cell and found.digest() == cell.digest()
    assert found.recipe.data.classes == 4 and open_source(found.recipe, tmp_path / "data", CPU).classes == 4
    assert "pets" not in cell.canonical(), "the title is for figures"
    assert "own_data" not in resolve(mini(), "x").cell("ResNet-8-c4", "bn", 0).canonical()


def test_figures_name_the_data_set_by_its_title(tmp_path):
    made(SMALL, tmp_path / "data", tmp_path)
    grid = resolved(SMALL, tmp_path / "data", experiments__cifar_depth__title="{data} ResNet")
    assert grid.experiments["cifar-depth"].title == "pets ResNet"
    untitled = {k: v for k, v in SMALL.items() if k != "title"}
    assert resolved(untitled, tmp_path / "data").experiments["cifar-depth"].data.title == "mine"


def test_another_number_of_images_is_another_cell(tmp_path):
    counts = {"classes": 4, "train_images": 24, "test_images": 8}
    one = cell_of({**SMALL, **counts}, tmp_path)
    other = cell_of({**SMALL, **counts, "train_images": 32}, tmp_path)
    assert one.digest() != other.digest()
    assert cell_of({**SMALL, **counts, "title": "other"}, tmp_path).digest() == one.digest()


def test_counts_in_the_configuration_serve_until_the_data_are_prepared(tmp_path):
    counts = {"classes": 4, "train_images": 24, "test_images": 8}
    planned = cell_of({**SMALL, **counts}, tmp_path / "data")
    assert planned.digest() == made(SMALL, tmp_path / "data", tmp_path).digest()


# Mistakes, one line each


def refused(function, *words):
    with pytest.raises(UserError) as caught:
        function()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    for word in map(str, words):
        assert word in text, f"{word!r} is not in {text!r}"


def test_data_that_are_not_prepared(tmp_path):
    command = f"bnonly --configfile grid.yaml prepare mine --from FOLDER --data {tmp_path}"
    refused(lambda: resolved(SMALL, tmp_path), "grid.yaml: datasets.mine is not prepared", command)


def test_an_unused_data_set_need_not_be_prepared(tmp_path):
    found = mini(datasets={"mine": SMALL})
    files = Layers(("grid.yaml", found))
    assert resolve(with_counts(found, files, tmp_path), files).cells
    refused(lambda: resolve(config(SMALL), "grid.yaml"), "recipes.digits.dataset must be prepared", "(got 'mine')")


@pytest.mark.parametrize("key", ["classes", "train_images", "test_images"])
def test_counts_other_than_the_prepared_ones(key, tmp_path):
    made(SMALL, tmp_path / "data", tmp_path)
    number = {"classes": 4, "train_images": 24, "test_images": 8}[key]
    refused(
        lambda: resolved({**SMALL, key: 9}, tmp_path / "data"),
        f"grid.yaml: datasets.mine.{key} must be {number}, as in {tmp_path / 'data/mine/manifest.json'} (got 9)",
    )


def test_images_other_than_the_described_ones(tmp_path):
    info = DatasetInfo("mine", "small-images", 25, 8, 4, 32)
    refused(
        lambda: prepare(info, folder(tmp_path / "set"), tmp_path / "data", quiet=True),
        "24 training images, mine has 25; correct datasets.mine in the configuration",
    )
    assert not (tmp_path / "data/mine/manifest.json").exists()


@pytest.mark.parametrize("described", [SMALL, PHOTOGRAPHS], ids=["small", "photographs"])
def test_a_class_that_one_part_lacks(described, tmp_path):
    source = folder(tmp_path / "set")
    shutil.rmtree(source / "test/owl")
    info = DatasetInfo("mine", described["kind"], 0, 0, 0, 32)
    refused(
        lambda: prepare(info, source, tmp_path / "data", quiet=True),
        f"{source}: test/owl is missing, train has it (1 such classes); add it",
    )


def test_a_folder_without_parts_and_one_without_test_images(tmp_path):
    info = DatasetInfo("mine", "small-images", 0, 0, 0, 32)
    source = folder(tmp_path / "set")
    refused(
        lambda: prepare(info, source / "train", tmp_path / "data", quiet=True),
        "must have folders train/<class>/",
        "test/<class>/",
    )
    shutil.rmtree(source / "test")
    refused(lambda: prepare(info, source, tmp_path / "data", quiet=True), "both train and val (or test) are needed")


@pytest.mark.parametrize("described", [SMALL, PHOTOGRAPHS], ids=["small", "photographs"])
def test_an_unreadable_image_is_named_and_may_be_left_out(described, tmp_path):
    source = folder(tmp_path / "set")
    first = min((source / "test/dog").iterdir())
    first.write_bytes(b"no image")
    info = DatasetInfo("mine", described["kind"], 0, 0, 0, 32)
    refused(lambda: prepare(info, source, tmp_path / "data", quiet=True), f"test/dog/{first.name}", "--skip-unreadable")
    assert "24 training and 7 test" in prepare(info, source, tmp_path / "data", skip_unreadable=True, quiet=True)
    cell = cell_of(described, tmp_path / "data")
    assert open_source(cell.recipe, tmp_path / "data", CPU).test_images == 7


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({**SMALL, "image_size": 16}, "prepared as images of 32 pixels, the configuration has images of 16 pixels"),
        (PHOTOGRAPHS, "prepared as images of 32 pixels, the configuration has photographs"),
    ],
)
def test_data_prepared_in_another_way(changed, words, tmp_path):
    data = tmp_path / "data"
    made(SMALL, data, tmp_path)
    cell = cell_of(changed, data)
    refused(
        lambda: open_source(cell.recipe, data, CPU),
        words,
        f"delete {data / 'mine'} and run: bnonly prepare mine --from PATH --data {data}, with the --profile or --configfile of",
    )


MISTAKES = {
    "unknown kind": (
        {"kind": "photos", "image_size": 32},
        "datasets.mine.kind is 'photos'; did you mean 'photographs'?",
    ),
    "no kind": ({"image_size": 32}, "datasets.mine.kind is missing"),
    "no size": ({"kind": "photographs"}, "datasets.mine.image_size is missing"),
    "size 0": ({**SMALL, "image_size": 0}, "datasets.mine.image_size must be at least 1 (got 0)"),
    "no classes": ({**SMALL, "classes": 0}, "datasets.mine.classes must be at least 1 (got 0)"),
    "misspelt key": ({**SMALL, "titel": "x"}, "unknown key datasets.mine.titel; did you mean 'title'?"),
    "no mapping": ("photographs", "datasets.mine must be a mapping (got 'photographs')"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_description(mistake, tmp_path):
    described, words = MISTAKES[mistake]
    counts = {"classes": 4, "train_images": 24, "test_images": 8} if isinstance(described, dict) else {}
    refused(lambda: resolved({**counts, **described} if counts else described, tmp_path), f"grid.yaml: {words}")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"cifar100": SMALL}, "datasets.cifar100 must have another name, because a built-in data set has this one"),
        ({"a/b": SMALL}, "datasets has the name 'a/b'; names consist of letters, digits"),
        ({7: SMALL}, "datasets has the name 7; names consist of letters, digits"),
        ([SMALL], "datasets must be a mapping"),
    ],
)
def test_a_wrong_name(names, words, tmp_path):
    found = mini(datasets=names)
    files = Layers(("grid.yaml", found))
    refused(lambda: resolve(with_counts(found, files, tmp_path), files), f"grid.yaml: {words}")


@pytest.mark.parametrize(
    ("described", "recipe", "words"),
    [
        (SMALL, {"augmentation": {"crop": True}}, "augmentation.crop must be false for mine"),
        (SMALL, {"augmentation": {"shift": 32}}, "augmentation.shift must be less than 32"),
        (PHOTOGRAPHS, {"augmentation": {"shift": 4}}, "augmentation.shift must be 0 for mine"),
        (SMALL, {"batch_size": 25}, "batch_size must be at most 24, the training images of mine"),
        (SMALL, {"dataset": "mien"}, "dataset is 'mien'; did you mean 'mine'?"),
        (SMALL, {"own_data": {}}, "own_data must be left out; describe the data set under datasets"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(described, recipe, words, tmp_path):
    found = config({**described, "classes": 4, "train_images": 24, "test_images": 8})
    found["recipes"]["digits"] |= recipe
    refused(lambda: resolve(found, "grid.yaml"), f"grid.yaml: recipes.digits.{words}")


# The command line


def test_prepare_cost_and_train_by_hand(bnonly, tmp_path):
    """From a folder of images to a trained cell with the commands that the documentation names."""
    source, data = folder(tmp_path / "set"), tmp_path / "data"
    file = write(tmp_path, config(SMALL))
    common = ("--config", file, "--data", data)
    done = bnonly(*common, "cost")
    assert done.returncode == 2 and f"prepare mine --from FOLDER --data {data}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = bnonly(*common, "prepare", "mien", "--from", source)
    assert done.returncode == 2 and "did you mean 'mine'" in done.stderr
    done = bnonly(*common, "prepare", "mine", "--from", source)
    assert done.returncode == 0 and PREPARED in done.stdout, done.stderr
    assert bnonly(*common, "-C", tmp_path / "run", "cost").returncode == 0
    done = bnonly(*common, "-C", tmp_path / "run", "train", "ResNet-8-c4", "bn")
    assert done.returncode == 0, done.stderr
    # A job has the cell's specification only.
    spec = cell_of(SMALL, data).canonical()
    done = bnonly("--data", data, "-C", tmp_path / "job", "train", "--spec", spec)
    assert done.returncode == 0, done.stderr
    tables = [
        parquet.read(tmp_path / way / "results/ResNet-8-c4/bn/seed0/metrics.parquet", "metrics")
        for way in ("run", "job")
    ]
    assert tables[0][0].column("test_loss").equals(tables[1][0].column("test_loss"))
    assert tables[0][1]["data"]["dataset"] == "mine"
