"""A person's own image as a network's input: what the test images of its data set go through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from bnonly.data.arrays import sized
from bnonly.data.batches import Normaliser
from bnonly.data.decoding import read_rgb, to_rgb
from bnonly.data.stream import central, resized
from bnonly.errors import UserError
from bnonly.grid.datasets import Inputs


class Transform:
    """Turn an image into a network's input.

    Photographs are resized and cropped to their centre as for testing (Appendix B.2).  For a set of small images, the
    central square is resized to their size.

    Parameters
    ----------
    inputs : Inputs
        From the weights file.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._normalise = Normaliser(np.array(inputs.mean), np.array(inputs.std), inputs.side, torch.device("cpu"))

    def __call__(self, image: Image.Image | str | Path) -> torch.Tensor:
        """Return the input for an image.

        Parameters
        ----------
        image : PIL.Image.Image, str or Path
            An image, or its file.

        Returns
        -------
        float tensor (3, side, side)
            Normalised.

        Raises
        ------
        UserError
            If the file cannot be read, or the image is ambiguous in 8-bit RGB, for example because it is transparent.
        """
        pixels = torch.from_numpy(np.array(_opened(image))).permute(2, 0, 1)
        if not self._inputs.stored:
            pixels = central(pixels, self._inputs.side)
        else:
            short, own = min(pixels.shape[1:]), self._inputs.stored
            top, left = ((n - short) // 2 for n in pixels.shape[1:])
            square = pixels[:, top : top + short, left : left + short]
            square = square if short == own else resized(square, own, own)
            pixels = sized(square.permute(1, 2, 0).numpy()[None], self._inputs.side)[0].permute(2, 0, 1)
        return self._normalise(pixels.permute(1, 2, 0).contiguous()).permute(2, 0, 1)


def _opened(image: Image.Image | str | Path) -> Image.Image:
    name = "the image" if isinstance(image, Image.Image) else str(image)
    try:
        return to_rgb(image) if isinstance(image, Image.Image) else read_rgb(Path(image).read_bytes())[0]
    except UnidentifiedImageError:
        raise UserError(f"{name}: not an image that Pillow can read") from None
    except OSError as problem:
        raise UserError(f"{name}: cannot be read: {problem.strerror or problem}") from None
    except ValueError as problem:
        raise UserError(f"{name}: {problem}; convert it to RGB first") from None
