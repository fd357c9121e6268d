"""Parameters of every architecture, counted by building it (Table 1, Appendix C.1)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bnonly import paths
from bnonly.grid.cell import Architecture
from bnonly.networks import build, regimes
from bnonly.results import atomic

COLUMNS = ("total", "batchnorm", "output", "shortcut", "conv_weights", "conv_biases", "features", "min_fan_in")


def write_counts(architectures: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write `results/counts.csv`.

    Parameters
    ----------
    architectures : mapping
        Name to family, depth, channels and classes.

    Returns
    -------
    Path
        The file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("architecture", "family", "depth", "channels", "classes", *COLUMNS))
    for name, a in architectures.items():
        with torch.device("meta"):  # shapes without values: WRN-14-32 alone would take 700 MB
            model = build(Architecture(name, a["family"], a["depth"], a["channels"]), a["classes"])
        found = regimes.count(model)
        writer.writerow((name, a["family"], a["depth"], a["channels"], a["classes"], *(found[c] for c in COLUMNS)))
    with atomic.writing(paths.counts()) as stream:
        stream.write(text.getvalue().encode())
    return paths.counts()
