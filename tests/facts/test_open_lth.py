"""The reference engine trains as the first author's framework does, step by step, in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bnonly.engines.reference import ReferenceEngine
from bnonly.grid.cell import Cell, Recipe
from bnonly.grid.resolve import Grid, load_grid
from bnonly.networks import regimes

#: What the framework computed; the file says how.
FACTS = json.loads(Path(__file__).with_name("open_lth_trajectories.json").read_text())
#: Relative, and absolute where a number is near 0: float64 leaves room for another order of summation.
NEAR = {"rel": 1e-9, "abs": 1e-9}


class Images:
    """The images that the framework trained on: in order, without augmentation."""

    def __init__(self, case: dict) -> None:
        generator = np.random.Generator(np.random.PCG64(1))
        shape = (case["images"], 3, case["image_side"], case["image_side"])
        self.images = torch.from_numpy(generator.standard_normal(shape))
        self.labels = torch.from_numpy(generator.integers(0, case["classes"], case["images"]))
        self.classes, self.train_images = case["classes"], case["images"]

    def train_batches(self, seed, epoch, batch_size, first=0):
        batches = zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True)
        return list(batches)[first:]

    def test_batches(self, batch_size):
        return self.train_batches(0, 0, batch_size)


@pytest.fixture(scope="module")
def paper() -> Grid:
    return load_grid(Path(__file__).parents[2] / "config.yaml")


def cell_of(paper: Grid, case: dict) -> Cell:
    """The paper's network and regime with the case's schedule."""
    architecture = paper.cell(case["architecture"], "bn", 0).architecture
    regime = next(c.regime for c in paper.cells.values() if c.regime.name == case["regime"])
    recipe = Recipe(
        dataset="cifar10",
        epochs=case["epochs"],
        batch_size=case["batch_size"],
        lr=0.4 if case["warmup_epochs"] else 0.1,
        milestones=tuple(case["milestones"]),
        warmup_epochs=case["warmup_epochs"],
    )
    return Cell(architecture, regime, recipe, seed=0)


def cases():
    """Every case; those that take more than a few seconds are marked."""
    for case in FACTS["cases"]:
        slow = not case["architecture"].startswith("ResNet-14")
        yield pytest.param(
            case, id=f"{case['architecture']}-{case['regime']}", marks=[pytest.mark.slow] if slow else []
        )


@pytest.mark.parametrize("case", cases())
def test_steps_are_those_of_the_authors_framework(paper, case, monkeypatch):
    start = regimes.make
    monkeypatch.setattr(regimes, "make", lambda cell, classes: start(cell, classes).double())
    engine = ReferenceEngine(cell_of(paper, case), Images(case), torch.device("cpu"))
    rates, losses = [], []
    take = engine._optimiser.step
    monkeypatch.setattr(engine._optimiser, "step", lambda lr: (rates.append(lr), take(lr)))
    per_epoch = -(-case["images"] // case["batch_size"])
    for epoch in range(case["epochs"]):
        for step in range(per_epoch):
            engine.set_totals(0.0, 0, 0)
            engine.train(epoch, step, step + 1, lambda: False)
            loss, _, images = engine.totals()
            losses.append(loss / images)
    weights = {n: p for n, p in engine.model.named_parameters() if n.endswith("weight")}
    variances = {n: b for n, b in engine.model.named_buffers() if n.endswith("running_var")}
    assert rates == pytest.approx(case["lr"], **NEAR)
    assert losses == pytest.approx(case["loss"], **NEAR)
    assert [w.sum().item() for w in weights.values()] == pytest.approx(case["weight_sum"], **NEAR)
    assert [v.sum().item() for v in variances.values()] == pytest.approx(case["running_var_sum"], **NEAR)
    assert engine.evaluate().loss == pytest.approx(case["test_loss"], **NEAR)
