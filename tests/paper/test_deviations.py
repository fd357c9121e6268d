"""The comparison of a run's cells with the paper's own."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from bnonly.config.layers import merge, read_yaml
from bnonly.grid.resolve import resolve
from bnonly.paper.deviations import deviations, in_words, paper

ROOT = Path(__file__).parents[2]
CONFIG = read_yaml(ROOT / "config.yaml")
DEPTH, WIDTH, IMAGENET = "cifar-depth", "cifar-width", "imagenet"


def compared(config, experiments=(DEPTH, WIDTH), regimes=("bn",)):
    """The differences of some panels, as a figure asks for them."""
    grid = resolve(config)
    places = [
        (e, a, r)
        for e in experiments
        if e in grid.experiments
        for a in grid.experiments[e].architectures
        for r in regimes
    ]
    return deviations(grid, places, experiments)


def changed(*path_and_value):
    """The paper's configuration with one value changed."""
    config = copy.deepcopy({**CONFIG, "engine": "reference", "precision": "fp32"})
    *path, last, value = path_and_value
    node = config
    for key in path:
        node = node.setdefault(key, {})
    node[last] = value
    return config


def test_the_packaged_grid_is_that_of_the_configuration_as_distributed():
    mine = resolve(CONFIG)
    for name, wanted in paper().experiments.items():
        found = mine.experiments[name]
        for field in ("data", "architectures", "regimes", "seeds", "case_study"):
            assert getattr(found, field) == getattr(wanted, field), (name, field)
        for key in paper().keys_of(wanted):
            cell = dataclasses.replace(mine.cells[key], engine="reference", precision="fp32")
            assert cell == paper().cells[key]


def test_the_papers_own_cells_have_no_difference():
    everything = tuple(paper().experiments)
    for experiment in everything:
        regimes = paper().experiments[experiment].regimes
        assert compared({**CONFIG, "engine": "reference", "precision": "fp32"}, (experiment,), regimes) == []


def test_engine_and_precision_are_said_and_do_not_disqualify():
    (found,) = compared(CONFIG)
    assert found.what == "fast engine, bf16; the paper's framework trained in fp32 by default"
    assert not found.disqualifies


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("scale", 0.05), "8 of 160 epochs"),
        (("scale", 2), "320 epochs instead of 160"),
        (("recipes", "cifar10", "lr", 0.01), "learning rate 0.01 instead of 0.1"),
        (("recipes", "cifar10", "milestones", [40]), "learning rate dropped after epoch 40 instead of after epochs 80 and 120"),
        (("recipes", "cifar10", "weight_decay", 0), "weight decay 0 instead of 0.0001"),
        (("recipes", "cifar10", "warmup_epochs", 5), "5 epochs of warm-up instead of 0"),
        (("recipes", "cifar10", "batch_size", 64), "64 images per batch instead of 128"),
        (("recipes", "cifar10", "augmentation", "flip", False), "images not mirrored"),
        (("recipes", "cifar10", "dataset", "cifar10-jpeg"), "CIFAR-10 (JPEG) instead of CIFAR-10"),
        (("regimes", "bn", "train", ["gamma", "beta", "output"]), "bn also trains the output layer"),
        (("regimes", "bn", "train", ["gamma"]), "bn does not train β"),
        (("regimes", "bn", "gamma_init", 1), "γ of bn starts at 1 instead of U[0, 1]"),
        (("regimes", "bn", "weight_init", "binary"), "weights of bn start binary instead of he normal"),
        (("architectures", "ResNet-56", "depth", 50), "ResNet-56 is a cifar-resnet of depth 50"),
        (("architectures", "WRN-14-2", "override", {"epochs": 200}), "200 epochs instead of 160 (WRN-14-2)"),
        (("experiments", DEPTH, "seeds", [0]), "1 of 5 seeds (CIFAR-10 ResNet)"),
        (("experiments", DEPTH, "architectures", ["ResNet-14", "ResNet-110"]), "2 of the 7 networks of CIFAR-10 ResNet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_difference_is_said_in_words_and_disqualifies(change, text):
    found = compared(changed(*change))
    assert any(f"{d.what} ({d.where})".startswith(text) and d.disqualifies for d in found), found
    assert len(found) == 1, found


def test_a_regime_of_the_papers_name_is_compared_in_what_it_trains():
    config = changed("regimes", "rand2", "random", {"k": 4, "per": "layer"})
    texts = [d.what for d in compared(config, (DEPTH,), ("rand2", "bn"))]
    assert texts == [
        "rand2 trains 4 random weights per channel instead of 2",
        "rand2 draws its random weights per layer instead of per channel",
    ]


def test_more_seeds_and_gpus_that_share_statistics_are_said_and_do_not_disqualify():
    found = compared(changed("experiments", DEPTH, "seeds", list(range(10))), (DEPTH,))
    assert [(d.what, d.disqualifies) for d in found] == [("10 seeds instead of 5", False)]
    config = {**changed("recipes", "imagenet", "gpus", 4), "engine": "fast"}
    config["recipes"]["imagenet"]["batchnorm"] = "synchronised"
    found = compared(config, (IMAGENET,))
    assert found[0].what == "4 GPUs per training" and not any(d.disqualifies for d in found)
    config["recipes"]["imagenet"]["batchnorm"] = "local"
    found = compared(config, (IMAGENET,))
    assert [d.what for d in found if d.disqualifies] == ["BatchNorm statistics over 256 images instead of 1024"]


def test_other_data_networks_and_experiments_are_named():
    config = merge(CONFIG, read_yaml(ROOT / "demo/grid.yaml"))
    found = compared(config, (DEPTH, IMAGENET))
    texts = [f"{d.what} ({d.where})" for d in found]
    assert "handwritten digits instead of CIFAR-10 (CIFAR-type ResNet)" in texts
    assert any(t.startswith("networks that are not the paper's: ResNet-8, ResNet-26") for t in texts)
    said = in_words(found)
    assert said.count("CIFAR-type ResNet: ") == 1 and "ImageNet-type ResNet: handwritten digits" in said
    del config["experiments"][IMAGENET]
    assert "experiments left out: imagenet" in [d.what for d in compared(config, (DEPTH, IMAGENET))]
    config["experiments"]["mine"] = config["experiments"][DEPTH]
    assert compared(config, ("mine",))[0].what == "an experiment of this project, not of the paper"


def test_the_rehearsal_is_every_cell_of_the_paper_at_its_true_size_and_marked():
    rehearsal = resolve(merge(CONFIG, read_yaml(ROOT / "workflow/profiles/rehearsal/grid.yaml")))
    for key in {k for k in paper().cells if k.seed == 0}:
        mine, theirs = rehearsal.cells[key], paper().cells[key]
        assert (mine.architecture, mine.regime) == (theirs.architecture, theirs.regime)
    assert {k for k in paper().cells if k.seed == 0} == rehearsal.on_default()
    for e in paper().experiments.values():
        places = [(e.name, a, r) for a in e.architectures for r in e.regimes]
        marks = in_words(d for d in deviations(rehearsal, places) if d.disqualifies)
        for what in ("28 handwritten digits instead of", "4 images per batch instead of", "1 of"):
            assert what in marks, e.name
        assert "0.8 of 160 epochs" in marks or "0.45 of 90 epochs" in marks
