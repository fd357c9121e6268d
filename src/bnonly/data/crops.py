"""Crops of photographs: random resized crops in training, the centre in testing (Appendix B.2).

The random crop is torchvision's algorithm (Szegedy et al. 2015), with random words as a function of (seed, epoch,
image).  It tries up to ten times an area between 0.1 and 1 of the image and an aspect ratio between 0.8 and 1.25,
log-uniform.  The first crop that fits is placed uniformly.  If none fits, the crop is the largest centred one with
such a ratio.
"""

from __future__ import annotations

import numpy as np
import torch

from bnonly import seeds

SCALE = (0.1, 1.0)
RATIO = (0.8, 1.25)
TRIES = 10


def random_boxes(seed: int, epoch: int, images: torch.Tensor, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Draw the crop of each image.

    Parameters
    ----------
    seed, epoch : int
        They key the draw.
    images : int64 tensor (n,)
        Indices in the training set.
    height, width : int array (n,)
        Their sizes in pixels.

    Returns
    -------
    int64 array (n, 4)
        Top, left, height and width of the crop.

    Notes
    -----
    Try t reads block t of the image's random words, t = 1 ... 10: area, ratio, top, left.  Block 0 is the flip's.
    """
    height, width = height.astype(np.int64), width.astype(np.int64)
    boxes = _central(height, width)
    left_over = np.arange(len(images))
    for attempt in range(1, TRIES + 1):
        area, ratio, top, left = (w.numpy() for w in seeds.words(seed, "augment", epoch, images[left_over], attempt))
        h, w = height[left_over], width[left_over]
        target = h * w * (SCALE[0] + (SCALE[1] - SCALE[0]) * (area / 2**32))
        aspect = np.exp(np.log(RATIO[0]) + (np.log(RATIO[1]) - np.log(RATIO[0])) * (ratio / 2**32))
        box_w, box_h = (np.rint(np.sqrt(x)).astype(np.int64) for x in (target * aspect, target / aspect))
        fits = (0 < box_w) & (box_w <= w) & (0 < box_h) & (box_h <= h)
        tops, lefts = (top * (h - box_h + 1)) >> 32, (left * (w - box_w + 1)) >> 32
        boxes[left_over[fits]] = np.stack((tops, lefts, box_h, box_w), axis=1)[fits]
        left_over = left_over[~fits]
        if not len(left_over):
            break
    return boxes


def _central(height: np.ndarray, width: np.ndarray) -> np.ndarray:
    ratio = width / height
    h = np.where(ratio < RATIO[0], np.rint(width / RATIO[0]), height).astype(np.int64)
    w = np.where(ratio > RATIO[1], np.rint(height * RATIO[1]), width).astype(np.int64)
    return np.stack(((height - h) // 2, (width - w) // 2, h, w), axis=1)


def flips(seed: int, epoch: int, images: torch.Tensor) -> np.ndarray:
    """Return a mask of the images to mirror, with the draws of the in-memory sets: bool (n,)."""
    return (seeds.words(seed, "augment", epoch, images)[0] >> 31 == 1).numpy()


def test_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of an image resized for testing: its shorter side is 256 for a size of 224."""
    short = round(size * 256 / 224)
    if height < width:
        return short, int(short * width / height)
    return int(short * height / width), short


def test_box(height: int, width: int, size: int) -> tuple[float, float, float, float]:
    """Return the test crop of an image in its original pixels: left, top, right, bottom."""
    tall, wide = test_size(height, width, size)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    down, across = height / tall, width / wide
    return (left * across, top * down, (left + size) * across, (top + size) * down)
