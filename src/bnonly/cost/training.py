"""A whole training: its FLOPs, the bytes it moves, the memory it needs and the disk its results take (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass

from bnonly.cost.step import ITEMSIZE, Step, step_of
from bnonly.grid.cell import Cell
from bnonly.grid.datasets import DATASETS
from bnonly.grid.schedule import Schedule


@dataclass(frozen=True)
class Training:
    """What one cell's training computes, moves and keeps.

    Attributes
    ----------
    train_flops, test_flops : int
        Of the whole training; of its evaluations.
    train_bytes : int
        Moved by the training steps in the cell's engine and precision.
    iterations, images : int
        Steps; images trained on, an image once an epoch.
    evaluations, test_images : int
        How often the test set is scored; its images.
    memory_bytes : int
        Peak on a device, of several that share a batch on each; without the driver's or torch's own.
    disk_bytes : int
        Of the finished cell's files.
    parameters, trainable : int
        Numbers of the network; those that train.
    step : Step
        The step behind it.
    """

    train_flops: int
    train_bytes: int
    test_flops: int
    iterations: int
    images: int
    evaluations: int
    test_images: int
    memory_bytes: int
    disk_bytes: int
    parameters: int
    trainable: int
    step: Step


def count_training(cell: Cell) -> Training:
    """Count what a cell's training computes, moves and keeps.

    Parameters
    ----------
    cell : Cell
        Its engine and precision say how.
    """
    recipe, data = cell.recipe, DATASETS[cell.recipe.dataset]
    size = recipe.image_size or data.image_size
    schedule = Schedule(recipe, data.train_images)
    epochs, rest = divmod(schedule.total, schedule.per_epoch)
    images = epochs * data.train_images + rest * recipe.batch_size
    evaluations = 1 + epochs + (rest > 0)
    one = step_of(cell)
    itemsize = ITEMSIZE[cell.precision]
    per_image = one.forward_flops + one.dgrad_flops + one.wgrad_flops
    passes = (*one.forward, *one.backward)
    # Activations are moved for every image, weights in every step.
    moved = itemsize * sum((images * p.elements + schedule.total * p.weights) * n for p, n in passes)
    share = recipe.batch_size // recipe.gpus
    saved = one.saved(share, itemsize)
    # Beside what is saved: the activation under way, its gradient, and one being made.
    transient = 3 * share * one.largest * itemsize
    # fp32 parameters, with gradient and momentum where they train, and a copy of the frozen ones in the precision of
    # the engine.
    parameters = 4 * one.parameters + 8 * one.trainable + (itemsize * one.parameters if itemsize < 4 else 0)
    resident = 0 if data.layout == "folder" else 3 * size * size * (data.train_images + data.test_images)
    if resident and cell.engine == "fast":  # an epoch's images, augmented and normalised together on a GPU
        resident += 3 * size * size * data.train_images * itemsize

    return Training(
        train_flops=per_image * images,
        train_bytes=moved,
        test_flops=one.forward_flops * data.test_images * evaluations,
        iterations=schedule.total,
        images=images,
        evaluations=evaluations,
        test_images=data.test_images,
        memory_bytes=saved + transient + parameters + resident,
        disk_bytes=_disk(one, evaluations),
        parameters=one.parameters,
        trainable=one.trainable,
        step=one,
    )


def _disk(one: Step, rows: int) -> int:
    """Return the bytes of a cell's files: values that hardly compress, and labels (measured on the demo)."""
    weights = 4 * (one.trainable + 2 * one.features) + 2_000
    metrics = 75 * rows + 7_000
    batchnorm = 31 * one.features + 6_000
    analyses = 5 * one.features + 12_000
    return weights + metrics + batchnorm + analyses
