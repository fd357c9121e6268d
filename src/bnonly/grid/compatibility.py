"""Which recipes fit which data (standard library only).

The grid checks every cell before anything runs, with the facts of `bnonly.grid.datasets`.  The code that opens data and makes
an engine checks again, because its cell may come from no grid and its data may have other images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnonly.grid.cell import Recipe


@dataclass(frozen=True)
class Misfit:
    """A value of a recipe that conflicts with another value.

    Attributes
    ----------
    key : tuple of str
        The keys of the value in the recipe.
    value
        The value.
    beside : str
        The key of the conflicting value.
    must : str
        The requirement: "must ..."
    """

    key: tuple[str, ...]
    value: Any
    beside: str
    must: str

    def __str__(self) -> str:
        return f"{'.'.join(self.key)} must {self.must} (got {self.value!r})"


def augmentation(recipe: Recipe) -> Misfit | None:
    """Return the conflict between a recipe's augmentation and its data set, if any."""
    how = recipe.augmentation
    if recipe.data.streamed:
        if how.shift:
            text = f"be 0 for {recipe.dataset}, whose photographs are cropped, not shifted"
            return Misfit(("augmentation", "shift"), how.shift, "dataset", text)
        return None
    if how.crop:
        text = f"be false for {recipe.dataset}, whose small images are shifted, not cropped"
        return Misfit(("augmentation", "crop"), how.crop, "dataset", text)
    size = recipe.input_size
    if how.shift >= size:
        beside = "image_size" if recipe.image_size else "dataset"
        return Misfit(("augmentation", "shift"), how.shift, beside, f"be less than {size}, the side of the image")
    return None


def batches(recipe: Recipe, images: int) -> Misfit | None:
    """Return the conflict between a recipe's batches and its number of training images, if any."""
    batch, group = recipe.batch_size, recipe.batchnorm_images

    def parts(size: int) -> int:
        """Return the groups of images with statistics of their own in a batch of a size."""
        return size // group if group else recipe.gpus

    def leaves_too_few(size: int) -> bool:
        return 0 < images % size < 2 * parts(size)

    if batch > images:
        text = f"be at most {images}, the training images of {recipe.dataset}"
    elif batch == 1:
        text = "be at least 2: BatchNorm cannot normalise a single image"
    elif leaves_too_few(batch):
        sizes = range(recipe.gpus * (group or 2), images + 1, recipe.gpus * (group or 1))
        fitting = (size for size in sizes if not leaves_too_few(size))
        other = "another batchnorm_images" if group else "another"
        near = min(fitting, key=lambda size: abs(size - batch), default=other)
        count = parts(batch)
        each = f"each of {count} {'groups' if group else 'GPUs'}" if count > 1 else "BatchNorm"
        text = (
            f"not leave {images % batch} of the {images} training images of {recipe.dataset} for a last batch, "
            f"because {each} needs 2 or more; take {near}"
        )
    else:
        return None
    return Misfit(("batch_size",), batch, "dataset", text)
