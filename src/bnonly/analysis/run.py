"""Analyse one trained cell, and verify its weights file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bnonly import paths
from bnonly.analysis.activations import activations
from bnonly.analysis.clamping import clamping
from bnonly.data import Batches, open_source
from bnonly.engines.devices import be_reproducible, check_device, choose_device
from bnonly.engines.engine import tester
from bnonly.engines.evaluate import Scores, evaluate
from bnonly.engines.fast.malloc import keep_memory
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.networks import weights
from bnonly.results import parquet


def _open(
    folder: Path, cell: Cell | None, data_root: Path, device_name: str, threads: int
) -> tuple[torch.nn.Module, Cell, Batches, torch.device]:
    torch.set_num_threads(threads)
    device = choose_device(device_name)
    if device.type == "cpu":
        keep_memory()
    be_reproducible("fp32")
    check_device(device)
    path = paths.weights(folder)
    model, found, label = weights.rebuild(path, cell)
    source = open_source(found.recipe, data_root, device)
    if source.checksum != label["data_sha256"]:
        raise UserError(
            f"{paths.shown(path)}: was trained on other {found.recipe.dataset} data than those in {data_root}; restore the data, or train again"
        )
    return model.to(device), found, source, device


def analyse_cell(folder: Path, cell: Cell | None, data_root: Path, device_name: str = "auto", threads: int = 1) -> None:
    """Write a cell's clamping and activation files from its weights file.

    Parameters
    ----------
    folder : Path
        The cell's folder.
    cell : Cell, optional
        The cell that the folder must hold.
    data_root : Path
        Folder of prepared data.
    device_name, threads
        As in `bnonly.train.options.Options`.
    """
    model, found, source, device = _open(folder, cell, data_root, device_name, threads)
    batch = found.recipe.batch_size
    parquet.write(paths.clamping(folder), "clamping", clamping(model, source, batch, device), found)
    parquet.write(paths.activations(folder), "activations", activations(model, source, batch), found)


@dataclass(frozen=True)
class Verified:
    """The recorded scores, those of the rebuilt network, and the size of the weights file in bytes."""

    recorded: Scores
    rebuilt: Scores
    size: int
    images: int
    precision: str

    @property
    def agrees(self) -> bool:
        """Whether the scores agree within a few test images, because machines round differently.

        The limit is two images in fp32; lower precisions round more coarsely, so there it is at least two in a thousand.
        """
        few = 2 if self.precision == "fp32" else max(2, 0.002 * self.images)
        pairs = ((self.recorded.top1, self.rebuilt.top1), (self.recorded.top5, self.rebuilt.top5))
        return max(abs(a - b) for a, b in pairs) * self.images <= few + 1e-6


def verify_cell(
    folder: Path, cell: Cell | None, data_root: Path, device_name: str = "auto", threads: int = 1
) -> Verified:
    """Rebuild a cell's network from its weights file and its seed, and score it again."""
    table, label = parquet.read(paths.metrics(folder), "metrics", cell=cell)
    model, found, source, device = _open(folder, cell, data_root, device_name, threads)
    parquet.check_cell(paths.metrics(folder), label, None, found)
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    return Verified(
        Scores(last["test_loss"], last["test_top1"], last["test_top5"]),
        evaluate(tester(model, found), source.test_batches(found.recipe.batch_size), device),
        paths.weights(folder).stat().st_size,
        source.test_images,
        found.precision,
    )
