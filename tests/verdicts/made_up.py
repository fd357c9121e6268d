"""Made-up results of a few networks, in which a metric has a known value, and claims about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from tests.figures import synthetic

from bnonly.grid.resolve import Grid, resolve
from bnonly.paper import catalog
from bnonly.verdicts import judge, verdict

DEPTHS = ("ResNet-14", "ResNet-32", "ResNet-56")
WIDTHS = ("WRN-14-2", "WRN-14-4", "WRN-14-8")
SMALL = ("ResNet-8-c2", "ResNet-14-c2", "ResNet-32-c2", "ResNet-8-c4", "ResNet-8-c8")
SEEDS = 5
#: Deviations from a cell's mean: mean 0, standard deviation 1.
NOISE = np.array([-1.2649110640673518, -0.6324555320336759, 0.0, 0.6324555320336759, 1.2649110640673518])
CHANNELS = 1000
#: Experiments of the paper as the claims file has them; read once, which takes half a second.
STATED = yaml.safe_load(catalog.SOURCE.read_text())["experiments"]


def config() -> dict:
    """The paper's configuration with few networks."""
    found = synthetic.paper_config()
    for name, networks in (("cifar-depth", DEPTHS), ("cifar-width", WIDTHS), ("small", SMALL)):
        found["experiments"][name]["architectures"] = list(networks)
    found["experiments"]["cifar-depth"]["case_study"] = "ResNet-56"
    for name in ("imagenet", "vgg", "text-depth", "text-width", "ends", "ends-imagenet"):
        del found["experiments"][name]
    return found


def claims(folder: Path, *tests: dict, also: dict | None = None, **keys) -> Path:
    """A claims file with one claim, about the few networks."""
    few = {"cifar-depth": DEPTHS, "cifar-width": WIDTHS, "small": SMALL}
    experiments = {
        name: {
            **STATED[name],
            "architectures": {a: STATED[name]["architectures"][a] for a in found},
        }
        for name, found in few.items()
    }
    body = {"page": 1, "section": "1", "says": "made up", "value": "0", **keys}
    if tests:
        body["tests"] = list(tests)
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"experiments": experiments, "claims": {"X001": body, **(also or {})}}))
    catalog.load.cache_clear()
    return path


def gammas(metric: str, value: float, rng) -> np.ndarray:
    """gammas of which a metric has a value."""
    chosen = np.arange(CHANNELS) < round(value * CHANNELS / 100)
    if metric == "gamma_sd":
        return value * np.where(np.arange(CHANNELS) % 2, 1.0, -1.0)
    if metric in ("gamma_mean", "gamma_magnitude"):
        return np.full(CHANNELS, value)
    if metric == "gamma_normal_distance":
        return rng.normal(size=CHANNELS) if value == 0 else np.repeat([0.0, 1.0], CHANNELS // 2)
    inside, outside = {
        "small_gammas": (0.001, 1),
        "gamma_positive": (1, -1),
        "gamma_negative": (-1, 1),
        "gamma_within": (0, 9),
    }[metric]
    return np.where(chosen, inside, outside)


def make(root: Path, grid: Grid, metric: str, values: dict[str, float], sd: float = 0.1, seeds: int = SEEDS) -> None:
    """Write results in which a metric has the given mean ("ResNet-14/bn": 60.0) and deviation over the seeds."""
    rng = np.random.default_rng(0)
    for name, mean in values.items():
        architecture, regime = name.split("/")
        for seed in range(seeds):
            cell, value = grid.cell(architecture, regime, seed), mean + sd * NOISE[seed]
            kind, known = "metrics", {}
            if metric in ("top1", "top5"):
                known = {f"test_{metric}": [0.1, value / 100]}
            synthetic.write_one(root, cell, "metrics", **known)
            if metric == "clamping_change":
                kind, known = "clamping", {"threshold": [0.0, 0.01], "test_top1": [0.5, 0.5 + value / 100], "gammas": [1, 1], "clamped": [0, 1], "test_loss": [1.0, 1.0], "test_top5": [0.9, 0.9]}  # fmt: skip
            elif metric in ("disabled_activations", "constant_activations", "sometimes_active"):
                off = {
                    "disabled_activations": (1.0, 0.5),
                    "constant_activations": (0.0, 0.5),
                    "sometimes_active": (0.5, 0.95),
                }[metric]
                zero = np.where(np.arange(CHANNELS) < round(value * CHANNELS / 100), *off)
                kind, known = "activations", {"relu": ["r"] * CHANNELS, "relu_index": [0] * CHANNELS, "channel": range(CHANNELS), "zero": zero}  # fmt: skip
                known["channel"] = np.arange(CHANNELS)
            elif metric not in ("top1", "top5"):
                kind = "batchnorm"
                zeros = np.zeros(CHANNELS)
                known = {name: zeros for name in "gamma_start beta_start beta_end mean_start mean_end".split()}
                known |= {"layer": ["bn"] * CHANNELS, "layer_index": zeros.astype(int), "channel": np.arange(CHANNELS)}
                known |= {"variance_start": zeros + 1, "variance_end": zeros + 1, "gamma_end": zeros}
                if metric == "small_betas":
                    known["beta_end"] = gammas("small_gammas", value, rng)
                else:
                    known["gamma_end"] = gammas(metric, value, rng)
            if kind != "metrics":
                synthetic.write_one(root, cell, kind, most=CHANNELS, **known)


def decide_one(tmp_path: Path, grid: Grid, *tests: dict, **keys) -> verdict.Decision:
    return judge.judge(grid, claims(tmp_path, *tests, **keys), tmp_path)[1][0]


def line(regime: str, *values: float, networks=DEPTHS) -> dict[str, float]:
    return {f"{a}/{regime}": v for a, v in zip(networks, values, strict=True)}


def other(change) -> Grid:
    found = config()
    change(found)
    return resolve(found)


ONE = {"metric": "top1", "of": "cifar-depth/ResNet-14/bn"}
ALL = {"metric": "top1", "of": "cifar-depth/*/bn"}
AGAINST = {**ALL, "minus": "rand2"}
