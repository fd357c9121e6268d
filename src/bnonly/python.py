"""bnonly from Python: ``bnonly.load`` and ``bnonly.network`` (docs/python.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.results import cells

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from PIL.Image import Image

    from bnonly.data.transform import Transform
    from bnonly.grid.datasets import Inputs


def load(folder: str | Path) -> pd.DataFrame:
    """Return every epoch of every trained cell of a run.

    Parameters
    ----------
    folder : str or Path
        A run's folder, for example ``runs/demo``, or the ``results`` in it.

    Returns
    -------
    pandas.DataFrame
        One row for each cell and epoch.  These columns describe the cell:

        - ``architecture``, ``regime``, ``seed``: its name; ``digest``: its identity;
        - ``family``, ``depth`` (layers), ``channels`` (of the first convolution): its network;
        - ``dataset``: its data; ``initial_lr``: the learning rate it starts with;
        - ``trainable``, ``parameters``: how many parameters train, and how many there are;
        - ``status``: "finished" or "diverged".

        These describe the epoch:

        - ``epoch`` (0 is the network before training), ``iteration`` (steps), ``lr``;
        - ``train_loss``, ``test_loss``: mean cross-entropy in nats;
        - ``train_top1``, ``test_top1``, ``test_top5``: accuracy as a fraction of 1;
        - ``images_per_second``, ``seconds``: speed and duration of its training.

        The training columns are NaN at epoch 0.

    Raises
    ------
    UserError
        If the folder holds no results, or one is damaged.
    """
    import pandas as pd

    found = []
    for path in cells.find(Path(folder)):
        table, label, cell = cells.read(path)
        about = {
            "architecture": cell.architecture.name,
            "regime": cell.regime.name,
            "seed": cell.seed,
            "digest": cell.digest(),
            "family": cell.architecture.family,
            "depth": cell.architecture.depth,
            "channels": cell.architecture.channels,
            "dataset": cell.recipe.dataset,
            "initial_lr": cell.recipe.lr,
            "trainable": label["parameters"]["trainable"],
            "parameters": label["parameters"]["total"],
            "status": label["status"],
        }
        epochs = table.to_pandas()
        found.append(epochs.assign(**about)[[*about, *epochs.columns]])
    return pd.concat(found, ignore_index=True)


@dataclass(frozen=True)
class Network:
    """A trained network, ready for images.

    Attributes
    ----------
    model : torch.nn.Module
        In evaluation mode, in fp32, on the CPU; maps inputs (n, 3, side, side) to logits (n, classes).
    transform : Transform
        Maps a PIL image, or the path of one, to an input (3, side, side).
    class_names : list of str
        In the order of the logits.
    cell : Cell
        What was trained, and how.
    """

    model: torch.nn.Module
    transform: Transform
    class_names: list[str]
    cell: Cell

    def classify(self, image: Image | str | Path, top: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes of an image with their probabilities, the highest first.

        Parameters
        ----------
        image : PIL.Image.Image, str or Path
            An image, or its file.
        top : int
            Number of classes.
        """
        import torch

        with torch.no_grad():
            probabilities = self.model(self.transform(image)[None])[0].softmax(0)
        best = probabilities.topk(min(top, len(self.class_names)))
        return [(self.class_names[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def network(folder: str | Path, data: str | Path = "data") -> Network:
    """Rebuild a trained network from its weights file and its seed.

    Parameters
    ----------
    folder : str or Path
        The cell's folder, for example ``runs/demo/results/ResNet-14/bn/seed0``.
    data : str or Path
        Folder of prepared data.  Used only for a weights file from before class names, mean and deviation were stored
        in it.

    Raises
    ------
    UserError
        If the weights file is missing or damaged, or if neither it nor the prepared data have the class names.
    """
    folder = Path(folder)
    if (folder / paths.RESULTS).is_dir():
        raise UserError(f"{folder}: is a run's folder; name a cell's, for example {folder}/results/ResNet-14/bn/seed0")
    from bnonly.data.transform import Transform
    from bnonly.networks import weights

    model, cell, label = weights.rebuild(paths.weights(folder))
    inputs = label["inputs"] or _prepared(paths.weights(folder), cell, label, Path(data))
    return Network(model, Transform(inputs), inputs.class_names, cell)


def _prepared(path: Path, cell: Cell, label: dict[str, Any], root: Path) -> Inputs:
    """Return the inputs of a weights file that does not have them, from the data that it was trained on."""
    import torch

    from bnonly.data import open_source

    lacking = f"{path}: was written by a version that did not store class names, mean and deviation"
    try:
        source = open_source(cell.recipe, root, torch.device("cpu"))
    except UserError as problem:
        raise UserError(f"{lacking}; name the folder of prepared data with data= ({problem})") from None
    if source.checksum != label["data_sha256"]:
        raise UserError(f"{lacking}; the {cell.recipe.dataset} data in {root} are not those it was trained on")
    return source.inputs
