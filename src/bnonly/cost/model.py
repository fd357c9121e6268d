"""A model of the time of a step on a kind of GPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bnonly.cost.gpus import Gpu
from bnonly.cost.step import ITEMSIZE, Pass, step_of
from bnonly.cost.training import count_training
from bnonly.grid.cell import Cell


@dataclass(frozen=True)
class Constants:
    """The efficiency of an engine on a device.

    Attributes
    ----------
    matrix, copy : float
        Fractions of the peak rate and of the copy bandwidth that its kernels reach.
    narrow : int
        Channels below which the rate of a matrix product falls in proportion.
    kernel_seconds : float
        Shortest time of a kernel.
    launch_seconds : float
        Host time per launch; 0 if a graph launches the whole step.
    startup_seconds : float
        Before the first step: imports, device context, network, data and graph capture.
    startup_per_kernel : float
        Additional start-up per kernel of a step.
    """

    matrix: float
    copy: float
    narrow: int
    kernel_seconds: float
    launch_seconds: float
    startup_seconds: float
    startup_per_kernel: float


#: By (engine, whether on a CPU).  Estimates, except where a source is named; measured runs correct them.
CONSTANTS = {
    # 7 us per launch: eager PyTorch trains ResNet-110 at 14-28 thousand images/s, with about 800 launches for 128 images.  Half of
    # the fp32 peak and 0.8 of the bandwidth are typical of cuDNN's and PyTorch's kernels.
    ("reference", False): Constants(0.5, 0.8, 32, 2.5e-6, 7e-6, 10.0, 0.0),
    # A graph has no launches; its shortest node takes 1.5 us.  0.6 of a 16-bit peak: a large matrix product reached
    # 790 of 989 TFLOP/s on an H200, and convolutions reach less.
    ("fast", False): Constants(0.6, 0.8, 64, 1.5e-6, 0.0, 15.0, 2e-3),
    ("reference", True): Constants(0.5, 0.8, 16, 5e-6, 10e-6, 5.0, 0.0),
    ("fast", True): Constants(0.6, 0.8, 16, 5e-6, 10e-6, 5.0, 0.0),
}


#: Photographs that one core decodes and crops per second: 0.61 ms each at 500 x 375 pixels, 0.34 ms shrunk to 256
#: (benchmarks/results/data.md).
DECODED_PER_CORE = {0: 1 / 0.61e-3, 256: 1 / 0.34e-3}


#: Default number of cores that feed one GPU.
CORES = 8


#: Bandwidth at which the GPUs of a node add up gradients.
EXCHANGE_BYTES_PER_S = 50e9


def kernels(passes: tuple[tuple[Pass, int], ...], batch: int, gpu: Gpu, constants: Constants, precision: str) -> float:
    """Return seconds on the device: each kernel takes its FLOPs, its bytes or its launch, whichever is longest."""
    itemsize = ITEMSIZE[precision]
    bandwidth = gpu.copy_bytes_per_s * constants.copy
    rate = gpu.matrix_flops[precision] * constants.matrix
    seconds = 0.0
    for one, times in passes:
        share = min(1.0, one.width / constants.narrow) if one.flops else 1.0
        seconds += times * max(
            batch * one.flops / (rate * share),
            (batch * one.elements + one.weights) * itemsize / bandwidth,
            one.kernels * constants.kernel_seconds,
        )
    return seconds


@lru_cache(maxsize=4096)
def model(cell: Cell, gpu: Gpu, cores: int) -> tuple[float, float, float]:
    """Return the seconds of all steps, seconds of one evaluation, seconds of start-up."""
    constants = CONSTANTS["fast" if cell.engine == "triton" else cell.engine, gpu.is_cpu]
    training, one, data, batch = (
        count_training(cell),
        step_of(cell),
        cell.recipe.data,
        cell.recipe.batch_size,
    )
    gpus = cell.recipe.gpus
    seconds = kernels((*one.forward, *one.backward), batch // gpus, gpu, constants, cell.precision)
    exchange = 2 * (gpus - 1) / gpus * 4 * one.trainable / EXCHANGE_BYTES_PER_S
    host = one.kernels * constants.launch_seconds
    # A GPU computes while the host launches; on a CPU the times add up.
    parts = [seconds * training.images / batch + exchange * training.iterations, host * training.iterations]
    if data.streamed:
        parts.append(training.images / (DECODED_PER_CORE[data.shrink] * (gpu.cores or cores * gpus)))
    steps = sum(parts) if gpu.is_cpu else max(parts)
    forward = kernels(one.forward, batch, gpu, constants, cell.precision) / batch
    launched = sum(p.kernels * n for p, n in one.forward) * constants.launch_seconds / batch
    evaluation = data.test_images * (forward + launched if gpu.is_cpu else max(forward, launched))
    if data.streamed:
        evaluation = max(evaluation, data.test_images / (DECODED_PER_CORE[data.shrink] * (gpu.cores or cores)))
    startup = constants.startup_seconds + constants.startup_per_kernel * one.kernels
    return steps, evaluation, startup


def step_seconds_per_image(cell: Cell, gpu: Gpu, cores: int = CORES) -> float:
    """Return the model's uncorrected training seconds per image, for comparison with measurements."""
    return model(cell, gpu, cores)[0] / count_training(cell).images


def limit_images_per_second(cell: Cell, gpu: Gpu, matrix_flops: float | None = None) -> float:
    """Return an upper bound of the training throughput of any engine: all necessary bytes and FLOPs at full rate,
    overlapped.

    Parameters
    ----------
    cell : Cell
        Training to bound; its precision sets the size of an element.
    gpu : Gpu
        The device.
    matrix_flops : float, optional
        A measured matrix rate in FLOP/s instead of the published peak.
    """
    one, batch, itemsize = step_of(cell, "limit"), cell.recipe.batch_size, ITEMSIZE[cell.precision]
    rate = matrix_flops or gpu.matrix_flops[cell.precision]
    passes = (*one.forward, *one.backward)
    moved = sum((p.elements + p.weights / batch) * n for p, n in passes) * itemsize / gpu.copy_bytes_per_s
    computed = (one.forward_flops + one.dgrad_flops + one.wgrad_flops) / rate
    return 1 / max(moved, computed)
