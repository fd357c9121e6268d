"""Costs of a whole training: FLOPs, bytes moved, memory, and disk for its results (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass

from bnonly.cost.step import ITEMSIZE, Step, step_of
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule


@dataclass(frozen=True)
class Training:
    """The FLOPs, bytes, memory and disk of one cell's training.

    Attributes
    ----------
    train_flops, test_flops : int
        FLOPs of the whole training; of its evaluations.
    train_bytes : int
        Bytes that the training steps move in the cell's engine and precision.
    iterations, images : int
        Steps; images trained on, each image once per epoch.
    evaluations : int
        Number of passes over the test set.
    memory_bytes : int
        Peak per device, without the memory of the driver and torch.
    disk_bytes : int
        Size of the finished cell's files.
    """

    train_flops: int
    train_bytes: int
    test_flops: int
    iterations: int
    images: int
    evaluations: int
    memory_bytes: int
    disk_bytes: int


def count_training(cell: Cell) -> Training:
    """Count the FLOPs, bytes, memory and disk of a cell's training.

    Parameters
    ----------
    cell : Cell
        Training to count, with its engine and precision.
    """
    recipe, data, size = cell.recipe, cell.recipe.data, cell.recipe.input_size
    schedule = Schedule(recipe, data.train_images)
    epochs, rest = divmod(schedule.total, schedule.per_epoch)
    images = epochs * data.train_images + rest * recipe.batch_size
    evaluations = 1 + epochs + (rest > 0)
    one = step_of(cell)
    itemsize = ITEMSIZE[cell.precision]
    per_image = one.forward_flops + one.dgrad_flops + one.wgrad_flops
    passes = (*one.forward, *one.backward)
    # Activations move for every image, weights in every step.
    moved = itemsize * sum((images * p.elements + schedule.total * p.weights) * n for p, n in passes)
    share = recipe.batch_size // recipe.gpus
    saved = one.saved(share, itemsize)
    # In addition to the saved tensors: the current activation, its gradient and the next one.
    transient = 3 * share * one.largest * itemsize
    # fp32 parameters, gradient and momentum of the trainable ones, and a copy of the frozen ones in the precision of
    # the engine.
    parameters = 4 * one.parameters + 8 * one.trainable + (itemsize * one.parameters if itemsize < 4 else 0)
    resident = 0 if data.streamed else 3 * size * size * (data.train_images + data.test_images)
    if resident and cell.engine == "fast":  # an epoch's images, augmented and normalised together on a GPU
        resident += 3 * size * size * data.train_images * itemsize

    return Training(
        train_flops=per_image * images,
        train_bytes=moved,
        test_flops=one.forward_flops * data.test_images * evaluations,
        iterations=schedule.total,
        images=images,
        evaluations=evaluations,
        memory_bytes=saved + transient + parameters + resident,
        disk_bytes=_disk(one, evaluations),
    )


def _disk(one: Step, rows: int) -> int:
    """Return the bytes of a cell's files: incompressible values, and labels (measured on the demo)."""
    weights = 4 * (one.trainable + 2 * one.features) + 2_000
    metrics = 75 * rows + 7_000
    batchnorm = 31 * one.features + 6_000
    analyses = 5 * one.features + 12_000
    return weights + metrics + batchnorm + analyses
