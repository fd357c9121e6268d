"""The command that trains, on prepared data of both kinds, for a few steps."""

import numpy as np
import pytest
from tests.data import sets
from tests.mini import mini, write

from bnonly.commands import cli
from bnonly.data import digits
from bnonly.data.prepare import prepare
from bnonly.data.prepared import open_prepared
from bnonly.grid.datasets import DATASETS
from bnonly.results import parquet

pytestmark = pytest.mark.usefixtures("small")

KINDS = {
    "cifar10": (lambda folder: sets.parquet(folder, "PNG"), "cifar-resnet", 8, {"flip": True, "shift": 4}),
    "imagenet": (sets.folder_set, "imagenet-resnet", 10, {"flip": True, "crop": True}),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_cell_is_trained_on_prepared_data(name, tmp_path, monkeypatch):
    make, family, depth, augmentation = KINDS[name]
    prepare(name, make(tmp_path / "set"), tmp_path / "data", quiet=True)
    images = {"cifar10": 5 * sets.PER_BATCH, "imagenet": len(sets.CLASSES) * sets.TRAIN}[name]
    recipe = {"dataset": name, "epochs": 1, "batch_size": images // 2, "lr": 0.1, "milestones": []}
    recipe["augmentation"] = augmentation
    network = {"family": family, "depth": depth, "channels": 4}
    experiment = {
        "title": "a",
        "recipe": "own",
        "architectures": ["N"],
        "case_study": "N",
        "regimes": ["bn"],
        "seeds": [0],
    }
    config = write(
        tmp_path, mini(recipes={"own": recipe}, architectures={"N": network}, experiments={"cifar-depth": experiment})
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--config", str(config), "--data", str(tmp_path / "data"), "train", "N", "bn", "--quiet"]) == 0
    table, label = parquet.read(tmp_path / "results/N/bn/seed0/metrics.parquet", "metrics")
    assert table["iteration"].to_pylist() == [0, 2] and np.isfinite(table["test_loss"]).all()
    assert label["data"]["sha256"] == open_prepared(DATASETS[name], tmp_path / "data")[0].checksum


def test_the_few_digits_are_the_first_of_the_digits():
    all_of, few = digits.load(), digits.load("digits-few")
    info = DATASETS["digits-few"]
    for part, count in (("train", info.train_images), ("test", info.test_images)):
        for kind in ("images", "labels"):
            name = f"{part}_{kind}"
            assert len(getattr(few, name)) == count
            np.testing.assert_array_equal(getattr(few, name), getattr(all_of, name)[:count])
