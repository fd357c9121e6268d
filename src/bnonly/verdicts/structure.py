"""Facts of an untrained network, built on torch's meta device."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from bnonly.grid.cell import Architecture, Regime
from bnonly.networks import build, regimes
from bnonly.paper.vocabulary import REGIMES

_ALL = Regime("all", ("gamma", "beta", "conv", "shortcut", "output"))


@cache
def _network(architecture: Architecture, classes: int) -> tuple[dict[str, int], dict[str, Any]]:
    with torch.device("meta"):
        model = build(architecture, classes)
    return regimes.count(model), _facts(architecture, model)


def count(metric: str, architecture: Architecture, classes: int, regime: str = "") -> float:
    """Return a count, a share in percent, or the accuracy of guessing.

    Parameters
    ----------
    metric : str
        A key of `bnonly.paper.catalog.COUNT_METRICS`.
    architecture : Architecture
        The network.
    classes : int
        Number of classes of its data set.
    regime : str
        The trained regime, for ``trainable`` and ``trainable_percent``.
    """
    if metric == "chance":
        return 100.0 / classes
    found, _ = _network(architecture, classes)
    if metric.startswith("trainable"):
        parts, k = REGIMES[regime]
        trained = sum(found[p] for p in parts) + k * found["features"]
        return 100.0 * trained / found["total"] if metric.endswith("percent") else float(trained)
    if metric.endswith("_percent"):
        return 100.0 * found[metric.removesuffix("_percent")] / found["total"]
    return float(found[metric])


def fact(name: str, architecture: Architecture, classes: int) -> Any:
    """Return a fact of a network's structure, one of `bnonly.paper.catalog.FACTS`."""
    return _network(architecture, classes)[1][name]


def _facts(architecture: Architecture, model: nn.Module) -> dict[str, Any]:
    groups = regimes.find_groups(model)
    stem = groups.convs[0][1]
    named = dict(model.named_modules())
    shortcuts = {
        f"{c.kernel_size[0]}x{c.kernel_size[1]}"
        + (" + BatchNorm" if any(isinstance(m, nn.BatchNorm2d) for m in named[n.rpartition(".")[0]].modules()) else "")
        for n, c in groups.shortcuts
    }
    strided = {f"{c.kernel_size[0]}x{c.kernel_size[1]}" for n, c in groups.convs[1:] if c.stride != (1, 1)}
    sets = [m for n, m in model.named_children() if isinstance(m, nn.Sequential) and n.startswith("layer")]
    halved = [any(isinstance(m, nn.Conv2d) and m.stride != (1, 1) for m in s[0].modules()) for s in sets]
    # The optimiser decays all trained parameters.
    regimes.freeze(model, groups, _ALL, seed=0)
    decayed = {id(p) for p in regimes.trainable(model).values()}
    affine = [p for _, norm in groups.batchnorms for p in (norm.weight, norm.bias)]
    return {
        "stem_channels": stem.out_channels,
        "blocks": tuple(len(s) for s in sets),
        "layers": len(groups.convs) + len(groups.outputs),
        "shortcut": " and ".join(sorted(shortcuts)) or "none",
        "stride": " and ".join(sorted(strided)) or "none",
        "downsampling_sets": tuple(i for i, half in enumerate(halved, 1) if half),
        "decayed": "every γ and β" if all(id(p) in decayed for p in affine) else "not every γ and β",
    }
