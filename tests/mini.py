"""A grid of seconds: handwritten digits, the smallest networks; a self-contained configuration."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

MINI: dict[str, Any] = {
    "title": "mini",
    "recipes": {
        "digits": {
            "dataset": "digits",
            "epochs": 2,
            "batch_size": 128,
            "lr": 0.1,
            "milestones": [1],
            "augmentation": {"shift": 1},
        }
    },
    "architectures": {
        "ResNet-8-c4": {"family": "cifar-resnet", "depth": 8, "channels": 4},
        "ResNet-14-c4": {"family": "cifar-resnet", "depth": 14, "channels": 4},
    },
    "regimes": {
        "all": {"train": ["gamma", "beta", "conv", "shortcut", "output"]},
        "bn": {"train": ["gamma", "beta"]},
        "rand2": {"train": ["random"], "random": {"k": 2, "per": "channel"}},
    },
    "experiments": {
        "cifar-depth": {
            "title": "ResNet",
            "recipe": "digits",
            "architectures": ["ResNet-8-c4", "ResNet-14-c4"],
            "case_study": "ResNet-8-c4",
            "regimes": ["all", "bn", "rand2"],
            "seeds": [0],
        }
    },
}


def mini(**changes: Any) -> dict[str, Any]:
    """Return a copy of `MINI`; a change is given by its path, with __ between keys: recipes__digits__lr=0.2."""
    config = copy.deepcopy(MINI)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = config
        for key in parents:
            node = node[key.replace("_", "-") if key not in node else key]
        node[last] = value
    return config


def write(folder: Path, config: dict[str, Any]) -> Path:
    """Write a configuration as `config.yaml` into a folder."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
