"""Invented but plausible results for a whole grid, so that every figure can be drawn without training anything."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bnonly import paths
from bnonly.figures import outputs
from bnonly.figures.catalog import FIGURES
from bnonly.grid.cell import Architecture, Cell, Key
from bnonly.grid.families.imagenet_resnet import BLOCKS
from bnonly.grid.families.vgg import LAYERS
from bnonly.grid.resolve import Grid, resolve
from bnonly.results import parquet

ROOT = Path(__file__).resolve().parents[2]

#: Test accuracy in percent at 1,000 and at 64,000 BatchNorm parameters on CIFAR-10, and the standard deviation.
CIFAR = {
    "all": (91.0, 94.5, 0.2),
    "all_noaffine": (90.6, 92.8, 0.25),
    "bn": (48.0, 81.5, 0.7),
    "rand2": (30.0, 59.0, 0.9),
    "bn_out": (51.0, 83.0, 0.6),
    "out": (36.0, 22.0, 1.2),
    "all_alt": (91.1, 93.9, 0.3),
    "bn_alt": (50.5, 84.0, 0.6),
    "bn_short_out": (63.0, 83.5, 0.5),
    "short_out": (49.0, 41.0, 1.0),
    "rand4": (38.0, 69.0, 0.8),
    "rand8": (49.0, 78.0, 0.7),
    "rand16": (60.0, 84.5, 0.6),
    "rand2_out": (42.0, 63.0, 0.9),
}
#: Top-1 at 10,000 and at 176,000 BatchNorm parameters on ImageNet.
IMAGENET = {
    "all": (70.0, 78.2, 0.15),
    "all_noaffine": (68.6, 76.1, 0.15),
    "bn": (2.0, 14.0, 0.4),
    "rand2": (0.4, 1.3, 0.1),
    "bn_out": (14.0, 32.0, 0.3),
    "out": (1.6, 0.8, 0.1),
    "all_alt": (70.1, 77.8, 0.15),
    "bn_alt": (3.0, 17.0, 0.4),
    "bn_short_out": (24.0, 52.0, 0.4),
    "short_out": (6.0, 15.0, 0.3),
    "rand2_out": (9.0, 14.0, 0.3),
}


def paper_config() -> dict[str, Any]:
    """The paper's configuration."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    return config


def paper_grid() -> Grid:
    """The paper's grid."""
    return resolve(paper_config())


def small_config() -> dict[str, Any]:
    """A grid that is not the paper's: three small networks (two in some panels), two seeds, scikit-learn's digits."""
    config = paper_config()
    config["title"] = "demo"
    config["recipes"] = {
        name: {"dataset": "digits", "epochs": 4, "batch_size": 64, "lr": 0.1, "milestones": [2, 3], "image_size": 16}
        for name in config["recipes"]
    }
    config["architectures"] = {
        "ResNet-8": {"family": "cifar-resnet", "depth": 8, "channels": 16},
        "ResNet-14": {"family": "cifar-resnet", "depth": 14, "channels": 16},
        "ResNet-20": {"family": "cifar-resnet", "depth": 20, "channels": 16},
        "WRN-8-1": {"same_as": "ResNet-8"},
        "WRN-8-2": {"family": "cifar-resnet", "depth": 8, "channels": 32},
        "ImageNet-ResNet-10": {"family": "imagenet-resnet", "depth": 10, "channels": 4},
        "ImageNet-ResNet-18": {"family": "imagenet-resnet", "depth": 18, "channels": 4},
        "VGG-11": {"family": "vgg", "depth": 11, "channels": 4},
        "ResNet-8-c2": {"family": "cifar-resnet", "depth": 8, "channels": 2},
        "ResNet-14-c2": {"family": "cifar-resnet", "depth": 14, "channels": 2},
    }
    archs = {
        "cifar-depth": ["ResNet-8", "ResNet-14", "ResNet-20"],
        "cifar-width": ["WRN-8-1", "WRN-8-2"],
        "imagenet": ["ImageNet-ResNet-10", "ImageNet-ResNet-18"],
        "vgg": ["VGG-11"],
        "small": ["ResNet-8-c2", "ResNet-14-c2"],
        "text-depth": ["ResNet-8"],
        "text-width": ["WRN-8-2"],
        "ends": ["ResNet-20", "WRN-8-2", "VGG-11"],
        "ends-imagenet": ["ImageNet-ResNet-18"],
        "beyond-affine": ["ResNet-8"],
        "beyond-decay": ["ResNet-8"],
        "beyond-rates": ["ResNet-8", "ResNet-14"],
        "beyond-rates-no-decay": ["ResNet-8", "ResNet-20"],
    }
    # Titles that were not adapted to the data: no figure may repeat what they claim.
    titles = {
        "cifar-depth": "CIFAR-10 ResNet",
        "cifar-width": "CIFAR-10 WRN",
        "imagenet": "ImageNet ResNet",
        "vgg": "CIFAR-10 VGG",
    }
    for name, experiment in config["experiments"].items():
        experiment["title"] = titles.get(name, name)
        experiment["architectures"] = archs[name]
        experiment["seeds"] = [0, 1]
    config["experiments"]["cifar-depth"]["case_study"] = "ResNet-14"
    config["experiments"]["imagenet"]["case_study"] = "ImageNet-ResNet-18"
    return config


def batchnorm_channels(arch: Architecture) -> int:
    """Channels with a gamma, exactly."""
    if arch.family == "vgg":
        return arch.channels * sum(m for m in LAYERS[arch.depth] if isinstance(m, int))
    if arch.family == "cifar-resnet":
        blocks = (arch.depth - 2) // 6
        return arch.channels * (1 + 2 * blocks * (1 + 2 + 4) + 2 + 4)
    kind, blocks_of = BLOCKS[arch.depth]
    a_block, a_shortcut = (2, 1) if kind == "basic" else (6, 4)
    groups = sum(n * a_block * 2**g for g, n in enumerate(blocks_of))
    shortcuts = sum(a_shortcut * 2**g for g in range(4) if g or kind == "bottleneck")
    return arch.channels * (1 + groups + shortcuts)


def parameters(cell: Cell) -> dict[str, int]:
    """Parameter counts of a cell: BatchNorm's exactly, the others about right."""
    arch = cell.architecture
    batchnorm = 2 * batchnorm_channels(arch)
    total = batchnorm * max(8, arch.channels * 10)
    classes, features = (1000, 512) if cell.recipe.dataset == "imagenet" else (10, 4 * arch.channels)
    counts = {"total": total, "batchnorm": batchnorm, "output": (features + 1) * classes, "shortcut": 2560}
    trainable = {"all": total, "bn": batchnorm}.get(cell.regime.name, batchnorm)
    return {**counts, "trainable": trainable}


def generator(cell: Cell, what: str) -> np.random.Generator:
    """Random numbers that depend on the cell and on what they are for."""
    return np.random.default_rng(zlib.crc32(f"{cell}/{what}".encode()))


def metrics(cell: Cell) -> dict[str, Any]:
    """Two epochs; the last one's accuracy rises with the number of BatchNorm parameters."""
    rng = generator(cell, "metrics")
    size = math.log2(2 * batchnorm_channels(cell.architecture))
    if cell.recipe.dataset == "imagenet":
        low, high, sd = IMAGENET[cell.regime.name]
        share = (size - math.log2(9600)) / math.log2(176000 / 9600)
    elif cell.regime.name == "all" and cell.architecture.channels < 16 and cell.recipe.dataset == "cifar10":
        low, high, sd = 48.0 + 5 * math.log2(cell.architecture.channels), 82.0, 0.6
        share = (size - math.log2(100)) / 6
    else:
        low, high, sd = CIFAR.get(cell.regime.name, (49.0, 80.0, 0.8))
        share = (size - 10) / 6
    final = float(np.clip(low + (high - low) * share + rng.normal(0, sd), 0.1, 99.9)) / 100
    top5 = 1 - (1 - final) ** (2.2 if cell.recipe.dataset == "imagenet" else 4)
    return {
        "epoch": [1, 2],
        "iteration": [10, 20],
        "lr": [0.1, 0.01],
        "train_loss": [2.0, 1.0],
        "train_top1": [0.5 * final, final],
        "test_loss": [2.0, 1.0],
        "test_top1": [0.5 * final, final],
        "test_top5": [0.5 * top5, top5],
        "images_per_second": [1000.0, 1000.0],
        "seconds": [1.0, 1.0],
    }


def batchnorm(cell: Cell, most: int) -> dict[str, Any]:
    """gammas that are normal, and with BatchNorm alone wider with a spike at zero."""
    rng = generator(cell, "batchnorm")
    n = min(batchnorm_channels(cell.architecture), most)
    size = math.log2(2 * batchnorm_channels(cell.architecture))
    alone = cell.regime.name.startswith("bn")
    shrink = 2 ** (-(size - 10) / 3.0)
    gamma = rng.normal(0.2 if alone else 0.5 * shrink, 0.55 if alone else 0.3 * shrink, n)
    beta = rng.normal(-0.1, 0.45 if alone else 0.2 * shrink, n)
    spike = rng.random(n) < (0.28 if alone else 0.03)
    gamma[spike] = rng.normal(0, 0.002, spike.sum())
    beta[spike] = rng.normal(0, 0.01, spike.sum())
    zeros = np.zeros(n)
    return {
        "layer": ["stem.bn"] * n,
        "layer_index": zeros.astype(int),
        "channel": np.arange(n),
        "gamma_start": rng.random(n),
        "gamma_end": gamma,
        "beta_start": zeros,
        "beta_end": beta,
        "mean_start": zeros,
        "mean_end": zeros,
        "variance_start": zeros + 1,
        "variance_end": zeros + 1,
    }


def clamping(cell: Cell) -> dict[str, Any]:
    """Accuracy falls with the threshold, and more where only BatchNorm trains."""
    rng = generator(cell, "clamping")
    steps = [0.0, 0.01, 0.05, 0.1]
    worst = 7.0 if cell.regime.name.startswith("bn") else 2.0
    top1 = [0.8 - worst / 100 * (t / 0.1) ** 1.5 * rng.uniform(0.6, 1) for t in steps]
    return {
        "threshold": steps,
        "gammas": [100] * 4,
        "clamped": [0, 20, 30, 40],
        "test_loss": [1.0] * 4,
        "test_top1": top1,
        "test_top5": top1,
    }


def activations(cell: Cell, most: int) -> dict[str, Any]:
    """ReLU channels that are on some of the time, and with BatchNorm alone often always on or always off."""
    rng = generator(cell, "activations")
    n = min(batchnorm_channels(cell.architecture), most)
    zero = rng.beta(2.5, 3.0, n)
    extreme = rng.random(n)
    always = (0.33, 0.12) if cell.regime.name.startswith("bn") else (0.03, 0.02)
    zero[extreme < always[0]] = 1.0
    zero[extreme > 1 - always[1]] = 0.0
    return {"relu": ["stem.relu"] * n, "relu_index": np.zeros(n, dtype=int), "channel": np.arange(n), "zero": zero}


def write(
    root: Path,
    grid: Grid,
    figures: list[str] | None = None,
    most: int = 400,
    diverged: Mapping[Key, float] | None = None,
) -> None:
    """Write the files that figures need.

    Parameters
    ----------
    root : Path
        The run's folder.
    grid : Grid
        Which cells there are.
    figures : list of str, optional
        For which figures; for all of them unless given.
    most : int
        Most channels of a network.
    diverged : mapping, optional
        Cells that diverged, with the accuracy (a share of 1) they had when they stopped; their gammas are NaN.
    """
    diverged = diverged or {}
    wanted = {}
    for name in figures or FIGURES.names():
        for panel in outputs.ask(grid, name).panels:
            for key, _ in panel.keys():
                for kind in panel.files:
                    wanted[kind, *key] = None
    for kind, *key in wanted:
        write_one(root, grid.cell(*key), kind, most, diverged.get(tuple(key)))


def write_one(
    root: Path,
    cell: Cell,
    kind: str,
    most: int = 400,
    stopped_at: float | None = None,
    counts: Mapping[str, int] | None = None,
    data_sha256: str = "0" * 64,
    **known: Any,
) -> None:
    """Write one file of a cell.

    Parameters
    ----------
    root : Path
        The run's folder.
    cell : Cell
        Whose.
    kind : str
        Which file.
    most : int
        Most channels.
    stopped_at : float, optional
        Accuracy of a diverged run.
    counts : mapping, optional
        Parameter counts instead of the network's.
    data_sha256 : str
        Checksum of the data that it claims to be trained on.
    **known : array-like
        Columns whose values a test knows.
    """
    columns: dict[str, Any]
    label: dict[str, Any] = {}
    if kind == "weights":
        (root / cell.key.folder).mkdir(parents=True, exist_ok=True)
        (root / cell.key.folder / paths.TRAINED[kind]).write_bytes(bytes(4 * parameters(cell)["trainable"]))
        return
    if kind == "metrics":
        columns = metrics(cell)
        label = {
            "status": "finished",
            "reason": "",
            "parameters": {**parameters(cell), **(counts or {})},
            "data": {"dataset": cell.recipe.dataset, "sha256": data_sha256},
        }
        if stopped_at is not None:
            columns["test_top1"][-1] = columns["test_top5"][-1] = stopped_at
            label |= {"status": "diverged", "reason": "loss is not finite"}
    elif kind == "clamping":
        columns = clamping(cell)
    else:
        columns = batchnorm(cell, most) if kind == "batchnorm" else activations(cell, most)
        if stopped_at is not None and kind == "batchnorm":
            columns["gamma_end"][:] = columns["beta_end"][:] = np.nan
    columns |= known
    path = root / cell.key.folder / paths.PARQUET[kind]
    parquet.write(path, kind, columns, cell, label)
