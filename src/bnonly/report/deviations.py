"""How a run differs from the paper's protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bnonly.console import listed
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Experiment, Grid
from bnonly.paper import catalog
from bnonly.verdicts import settings
from bnonly.verdicts.measure import Measurements

_SETTINGS = {
    "recipe.epochs": "epochs",
    "recipe.batch_size": "images a batch",
    "recipe.lr": "initial learning rate",
    "recipe.momentum": "momentum",
    "recipe.weight_decay": "weight decay",
    "recipe.milestones": "drops after epochs",
    "recipe.drop": "factor of a drop",
    "recipe.warmup_epochs": "epochs of warm-up",
    "recipe.augmentation.flip": "flipped images",
    "recipe.augmentation.shift": "pixels of shift",
    "recipe.augmentation.crop": "random crops",
}


def deviations(grid: Grid, measured: Measurements) -> list[str]:
    """Return what a reader must know before comparing this run with the paper, in sentences."""
    paper = catalog.load()
    protocol = settings.protocol(paper)
    out: list[str] = []
    foreign: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and grid.experiments[name].dataset != wanted.dataset:
            foreign[grid.experiments[name].dataset].append(name)
    for dataset, names in foreign.items():
        info = DATASETS[dataset]
        meant = listed(dict.fromkeys(DATASETS[paper.experiments[n].dataset].title for n in names))
        out.append(
            f"Data: {_called(grid, names)} trained on {info.title} ({info.train_images:,} training images of {info.image_size} "
            f"pixels, {info.test_images:,} for testing), not on {meant}."
        )
    same: dict[str, list[str]] = defaultdict(list)
    for name, experiment in grid.experiments.items():
        if name in protocol and (text := _schedule(grid, experiment, protocol[name])):
            same[text].append(name)
    out += [f"Schedule of {_called(grid, names)}: {text}." for text, names in same.items()]
    networks: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and list(grid.experiments[name].architectures) != list(wanted.architectures):
            networks[name] = list(grid.experiments[name].architectures)
    if networks:
        titles: dict[str, dict[str, None]] = defaultdict(dict)
        for name, found in networks.items():
            titles[grid.experiments[name].title].update(dict.fromkeys(grid.architecture_labels[a] for a in found))
        parts = [f"{listed(labels)} ({title})" for title, labels in titles.items()]
        out.append(f"Networks: not the paper's, but {'; '.join(parts)}.")
    seeds: dict[str, list[str]] = defaultdict(list)
    for name, wanted in paper.experiments.items():
        if name in grid.experiments and len(grid.experiments[name].seeds) != wanted.seeds:
            seeds[f"{len(grid.experiments[name].seeds)} instead of {wanted.seeds}"].append(name)
    if seeds:
        out.append(f"Replicates: {'; '.join(f'{text} in {_called(grid, names)}' for text, names in seeds.items())}.")
    absent = [n for n in paper.experiments if n not in grid.experiments]
    if absent:
        out.append(f"Experiments left out of this run: {listed(absent)}.")
    cells = [grid.cells[k] for k in measured.labels]
    for engine, precision in sorted({(c.engine, c.precision) for c in cells} - {("reference", "fp32")}):
        out.append(
            f"Trained with the {engine} engine in {precision}; the reference is PyTorch's own operations in fp32."
        )
    wanted_cells = grid.on_default()
    missing = len(wanted_cells - set(measured.labels))
    if missing:
        out.append(
            f"Missing: {missing:,} of the {len(wanted_cells):,} trainings behind the figures and tables are not there."
        )
    requested = {k for k in grid.cells if k not in wanted_cells}
    if requested and (lacking := len(requested - set(measured.labels))):
        out.append(
            f"Missing: {lacking:,} of the {len(requested):,} trainings for what the paper states without a figure "
            "(made on request: tables/text_only.md)."
        )
    return out


def _called(grid: Grid, names: Sequence[str]) -> str:
    """Name experiments by their titles, each once."""
    if set(names) >= set(grid.experiments):
        return "everything"
    return listed(dict.fromkeys(grid.experiments[n].title for n in names))


def _schedule(grid: Grid, experiment: Experiment, protocol: Mapping[str, Any]) -> str:
    found: dict[str, set[str]] = defaultdict(set)
    wanted = {}
    for regime in experiment.regimes:
        for architecture in experiment.architectures:
            cell = grid.cell(architecture, regime, experiment.seeds[0])
            for key, value in protocol.items():
                mine = settings.setting_of(cell, grid, experiment.name, key)
                if mine != value:
                    found[key].add(_value(mine))
                    wanted[key] = _value(value)
    return "; ".join(f"{_SETTINGS.get(k, k)} {' or '.join(sorted(v))} instead of {wanted[k]}" for k, v in found.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return listed([_value(v) for v in value]) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
