"""Data sets opened for training: prepared files in, normalised batches on the device out."""

from __future__ import annotations

from pathlib import Path

import torch

from bnonly.data.arrays import ArraySource
from bnonly.errors import UserError
from bnonly.spec import Recipe


def open_source(recipe: Recipe, root: Path, device: torch.device) -> ArraySource:
    """Open a recipe's data set.

    Parameters
    ----------
    recipe : Recipe
        Data set, image size, augmentation.
    root : Path
        Folder of prepared data; unused by the digits, which come inside scikit-learn.
    device : torch.device
        Where the batches are wanted.

    Raises
    ------
    UserError
        If the data are not there or not what they should be.
    """
    if recipe.dataset == "digits":
        from bnonly.data.digits import load

        return ArraySource(load(), recipe, device)
    raise UserError(f"{root}: data set {recipe.dataset} is not prepared there")
