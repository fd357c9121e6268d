"""The results of a training: rows of the metrics, BatchNorm values, the label with its provenance."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bnonly.data import Batches
from bnonly.engines.evaluate import Scores
from bnonly.grid.cell import Cell
from bnonly.networks import regimes
from bnonly.results import parquet
from bnonly.train import provenance

Norms = dict[str, dict[str, Any]]


def row(epoch: int, iteration: int, lr: float, sums: list[Any], scores: Scores) -> dict[str, Any]:
    """Return an epoch's row of the metrics; `sums` are the epoch's loss, correct images, images and seconds."""
    loss, correct, images, seconds = sums
    return {
        "epoch": epoch,
        "iteration": iteration,
        "lr": lr,
        "train_loss": loss / images if images else math.nan,
        "train_top1": correct / images if images else math.nan,
        "test_loss": scores.loss,
        "test_top1": scores.top1,
        "test_top5": scores.top5,
        "images_per_second": images / seconds if seconds else 0.0,
        "seconds": seconds,
    }


def session(device: torch.device) -> dict[str, Any]:
    """Return start time, machine and code of a process's part of a training."""
    return {
        "began": now(),
        **provenance.code(),
        **provenance.describe_device(device),
        "versions": provenance.versions(),
    }


def norms(model: torch.nn.Module) -> Norms:
    """Copy every BatchNorm layer's gamma, beta, running mean and running variance, each an array (channels,)."""
    found: Norms = {}
    for name, norm in regimes.find_batchnorms(model):
        values = {"gamma": norm.weight, "beta": norm.bias, "mean": norm.running_mean, "variance": norm.running_var}
        found[name] = {n: v.detach().cpu().numpy().copy() for n, v in values.items() if v is not None}
    return found


def write_batchnorm(path: Path, cell: Cell, start: Norms, end: Norms) -> None:
    """Write every channel's BatchNorm values before and after training."""
    columns: dict[str, list[Any]] = {name: [] for name in parquet.SCHEMAS["batchnorm"].names}
    for index, layer in enumerate(end):
        size = len(end[layer]["gamma"])
        columns["layer"] += [layer] * size
        columns["layer_index"] += [index] * size
        columns["channel"] += range(size)
        for when, values in (("start", start[layer]), ("end", end[layer])):
            for what, value in values.items():
                columns[f"{what}_{when}"] += value.tolist()
    parquet.write(path, "batchnorm", columns, cell)


def label(model: torch.nn.Module, source: Batches, dataset: str, history: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of the metrics file: parameters, data, code, machine, sessions."""
    return {
        "parameters": regimes.count(model),
        "data": {
            "dataset": dataset,
            "sha256": source.checksum,
            "train_images": source.train_images,
            "test_images": source.test_images,
            "classes": source.classes,
            "mean": list(map(float, source.mean)),
            "std": list(map(float, source.std)),
        },
        "ended": now(),
        # The top level has the code, versions and device of the last session; "sessions" has those of all.
        **{k: v for k, v in history["sessions"][-1].items() if k != "began"},
        **history,
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
