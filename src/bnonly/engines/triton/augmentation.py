"""A training batch in one launch: gather images from the data set, mirror, shift, normalise (Appendix B.1)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def augment_kernel(
    images, labels, order, flip, down, right, mean_pointer, std_pointer, first, batch_out, labels_out, total,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, PADDED: tl.constexpr, SHIFT: tl.constexpr,
    FLIP: tl.constexpr, SHIFTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute one block of pixels of one image; grid (images, blocks of pixels)."""
    image = tl.program_id(0)
    place = tl.load(first) + image
    there = place < total
    source = tl.load(order + place, mask=there, other=0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, column = pixel // WIDTH, pixel % WIDTH
    if SHIFTS:
        # The window at (down, right) of the image with SHIFT zeros on each side.
        row += tl.load(down + place, mask=there, other=0).to(tl.int32) - SHIFT
        column += tl.load(right + place, mask=there, other=0).to(tl.int32) - SHIFT
    seen = there & (pixel < HEIGHT * WIDTH) & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    if FLIP:
        column = tl.where(tl.load(flip + place, mask=there, other=0) != 0, WIDTH - 1 - column, column)
    channel = tl.arange(0, PADDED)
    real = channel < CHANNELS
    at = ((source * HEIGHT + row) * WIDTH + column)[:, None] * CHANNELS + channel[None, :]
    value = tl.load(images + at, mask=seen[:, None] & real[None, :], other=0).to(tl.float32)
    mean = tl.load(mean_pointer + channel, mask=real, other=0.0)
    std = tl.load(std_pointer + channel, mask=real, other=1.0)
    # IEEE division: in fp32 the same bits as `data.batches.Normaliser` on a CPU (on CUDA torch multiplies by 1 / 255
    # instead).  The padding zeros are normalised too.
    value = tl.div_rn(tl.div_rn(value, 255.0) - mean[None, :], std[None, :])
    out = (image.to(tl.int64) * HEIGHT * WIDTH + pixel)[:, None] * CHANNELS + channel[None, :]
    kept = there & (pixel < HEIGHT * WIDTH)[:, None] & real[None, :]
    tl.store(batch_out + out, value.to(batch_out.dtype.element_ty), mask=kept)
    if tl.program_id(1) == 0:
        tl.store(labels_out + image, tl.load(labels + source), mask=there)


def augment(
    images: torch.Tensor,
    labels: torch.Tensor,
    order: torch.Tensor,
    flip: torch.Tensor | None,
    down: torch.Tensor | None,
    right: torch.Tensor | None,
    shift: int,
    mean: torch.Tensor,
    std: torch.Tensor,
    first: torch.Tensor,
    batch: torch.Tensor,
    batch_labels: torch.Tensor,
) -> None:
    """Make a batch of an epoch.

    Parameters
    ----------
    images : uint8 tensor (images, height, width, channels)
        The data set.
    labels : int64 tensor (images,)
    order : int64 tensor (n,)
        The epoch's order: indices of images.
    flip : bool tensor (n,), optional
        The images to mirror, in that order.
    down, right : int64 tensors (n,), optional
        Offset of the window in the padded image, in [0, 2 * shift].
    shift : int
        Padding on each side in pixels.
    mean, std : fp32 tensors (channels,)
        Mean and standard deviation of pixels in [0, 1].
    first : int64 tensor (1,)
        Position of the batch's first image in the order; on the device, so that a captured launch can make any batch.
    batch : fp32, bf16 or fp16 tensor (batch, channels, height, width)
        Receives the images, channels last in memory.  Entries past the end of the order stay unchanged.
    batch_labels : int64 tensor (batch,)
        Receives the labels.

    Raises
    ------
    ValueError
        If `batch` is not channels last in memory, or another tensor is not contiguous.
    """
    count, channels, height, width = batch.shape
    if not all(t is None or t.is_contiguous() for t in (images, labels, order, flip, down, right, batch_labels)):
        raise ValueError("data set and draws must be contiguous")
    if not batch.permute(0, 2, 3, 1).is_contiguous():
        raise ValueError("the batch must be in channels-last order")
    block = min(BLOCK, triton.next_power_of_2(height * width))
    augment_kernel[count, triton.cdiv(height * width, block)](
        images, labels, order, flip, down, right, mean, std, first, batch, batch_labels, order.numel(),
        HEIGHT=height, WIDTH=width, CHANNELS=channels, PADDED=triton.next_power_of_2(channels), SHIFT=shift,
        FLIP=flip is not None, SHIFTS=shift > 0 and down is not None, BLOCK=block,
    )  # fmt: skip
