"""One replicate seed, four independent streams of random numbers, the same on every machine and device.

========== ============================================ =========================================
stream     decides                                      a function of
========== ============================================ =========================================
weights    initial weights, biases, gamma and beta      (seed, name of the tensor)
mask       the k trainable weights per channel or layer (seed, name of the convolution)
order      order of the images                          (seed, epoch)
augment    flips, shifts and crops                      (seed, epoch, image)
========== ============================================ =========================================

Weights and masks come from NumPy's Philox generator on the CPU, keyed by SHA-256.  Order and augmentation come from
Philox4x32-10 (Salmon et al. 2011) in integer arithmetic on tensors, so they can be drawn on any device, in any order,
for any epoch.  A resumed run needs no generator state, and no global generator is used.  One exception: orthogonal
weights (Appendix E.1) come from LAPACK's SVD, whose last bit depends on the kind of CPU.  A weights file from another kind
of CPU is rejected; rebuilding it would give a different network.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

_MASK32 = 0xFFFFFFFF


def _key(seed: int, stream: str, name: str = "") -> bytes:
    return hashlib.sha256(f"bnonly/{stream}/{seed}/{name}".encode()).digest()


def generator(seed: int, stream: str, name: str) -> np.random.Generator:
    """Return the NumPy generator for one tensor.

    Parameters
    ----------
    seed : int
        Replicate seed.
    stream : str
        "weights" or "mask".
    name : str
        Name of the tensor in the network.
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_key(seed, stream, name)[:16], "little")))


def philox(counter: tuple[torch.Tensor | int, ...], key: tuple[int, int], device: torch.device) -> list[torch.Tensor]:
    """Philox4x32-10 on tensors.

    Parameters
    ----------
    counter : four integers or int64 tensors
        Broadcast against each other; each in [0, 2**32).
    key : two integers
        Each in [0, 2**32).
    device : torch.device
        Where to compute.

    Returns
    -------
    list of four int64 tensors
        Independent words in [0, 2**32).
    """
    # Created on the device: copying a number from the host would make the host wait.
    c = [v if isinstance(v, torch.Tensor) else torch.full((), v, dtype=torch.int64, device=device) for v in counter]
    c = list(torch.broadcast_tensors(*c))
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap, but their 64 bits are right: the shift and the mask give the two halves.
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) & _MASK32 ^ c[1] ^ k0, p1 & _MASK32, (p0 >> 32) & _MASK32 ^ c[3] ^ k1, p0 & _MASK32]
        k0, k1 = (k0 + 0x9E3779B9) & _MASK32, (k1 + 0xBB67AE85) & _MASK32
    return c


def words(seed: int, stream: str, epoch: int, images: torch.Tensor, block: int = 0) -> list[torch.Tensor]:
    """Draw four random words for each image of an epoch.

    Parameters
    ----------
    seed, stream, epoch
        Key of the draw.
    images : int64 tensor (n,)
        Indices in the training set.
    block : int
        Index of the group of four words; groups are independent.

    Returns
    -------
    list of four int64 tensors (n,)
        In [0, 2**32).
    """
    raw = _key(seed, stream)
    key = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")
    return philox((images, epoch, block, 0), key, images.device)


def below(word: torch.Tensor, n: int) -> torch.Tensor:
    """Turn random words into integers in [0, n), n < 2**31."""
    return (word * n) >> 32


def order(seed: int, epoch: int, images: int, device: torch.device) -> torch.Tensor:
    """Return the order in which an epoch sees the training images: a permutation, int64 (images,)."""
    high, low, _, _ = words(seed, "order", epoch, torch.arange(images, device=device))
    return torch.argsort((high << 31) | (low >> 1), stable=True)
