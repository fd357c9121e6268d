"""Data sets opened for training: prepared files in, normalised batches on the device out."""

from __future__ import annotations

from pathlib import Path

import torch

from bnonly.data.batches import Batches
from bnonly.errors import UserError
from bnonly.grid import compatibility
from bnonly.grid.cell import Recipe

__all__ = ["Batches", "open_source"]


def open_source(recipe: Recipe, root: Path, device: torch.device) -> Batches:
    """Open a recipe's data set.

    Parameters
    ----------
    recipe : Recipe
        Data set, image size, augmentation.
    root : Path
        Folder of prepared data; unused by the digits, which come inside scikit-learn.
    device : torch.device
        Device of the batches.

    Raises
    ------
    UserError
        If the data are missing or invalid, or the recipe does not fit them.
    """
    if wrong := compatibility.augmentation(recipe):
        raise UserError(f"data set {recipe.dataset}: {wrong}")
    # Imported here so that a small cell does not wait for torchvision.
    if recipe.data.layout == "installed":
        from bnonly.data.arrays import ArraySource
        from bnonly.data.digits import load

        return ArraySource(load(recipe.dataset), recipe, device)
    if recipe.data.streamed:
        from bnonly.data.stream import PackSource

        return PackSource(recipe, root, device)
    from bnonly.data.arrays import ArraySource, ImageArrays
    from bnonly.data.prepared import open_arrays

    arrays, manifest = open_arrays(recipe.data, root)
    return ArraySource(ImageArrays(**arrays, classes=manifest.classes), recipe, device, manifest)
